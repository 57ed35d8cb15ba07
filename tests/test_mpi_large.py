"""More elements than 32 bits can count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pyccl
from tests import mpi

COUNT = 2**31 + 11
RANKS = 2


def available() -> int:
    """Return the bytes that may still be used."""
    text = Path("/proc/meminfo").read_text()
    return int(text.split("MemAvailable:")[1].split()[0]) * 1024


@mpi.check(sizes=(RANKS,))
def counts_beyond_two_to_the_31(comm: pyccl.Communicator) -> None:
    x = np.ones(COUNT, np.int8)
    x[-1], x[2**31] = 10 + comm.rank, 20 + comm.rank
    comm.all_reduce(x, out=x)
    assert (int(x[-1]), int(x[2**31]), int(x[0]), int(x[2**31 - 1])) == (21, 41, 2, 2)
    x[-1] = 7 if comm.rank == 1 else 0
    comm.broadcast(x, root=1)
    assert x[-1] == 7
    part = (
        comm.reduce_scatter(x, "max", out=x[: pyccl.collectives.split(COUNT, comm.size)[0]]) if comm.rank == 0 else None
    )
    if comm.rank == 1:
        part = comm.reduce_scatter(x, "max", out=x[COUNT - COUNT // 2 :])
        assert part[-1] == 7
    assert part is not None
    assert len(part) == (COUNT + 1 - comm.rank) // 2


def run(size: int, name: str, env: dict[str, str]) -> None:
    needed = 3 * RANKS * COUNT
    if available() < needed:
        pytest.skip(f"needs {needed >> 30} GiB of free memory, there are {available() >> 30}")
    mpi.checks({**globals(), "run": None}, env)(size, name)


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.parametrize("transport", ["auto", "mpi"])
def test_counts_beyond_two_to_the_31(transport: str) -> None:
    run(RANKS, "counts_beyond_two_to_the_31", {"PYCCL_TRANSPORT": transport, "PYCCL_TIMEOUT": "90"})
