"""Laws of the MPI transport, run by the ranks of an mpirun; the laws are in workers/mpi_transport.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import mpi

WORKER = str(Path(__file__).parent / "workers" / "mpi_transport.py")

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("size", [2, 3, 4])
def test_messages_arrive_whole_and_in_order(size: int) -> None:
    mpi.mpirun([WORKER, "sizes", "splitting", "outstanding"], size)


def test_errors_and_lifetimes() -> None:
    mpi.mpirun([WORKER, "tags", "lengths", "withdrawal", "arguments", "lifetimes"], 2)


def test_abandoned_requests_neither_hang_nor_crash() -> None:
    mpi.mpirun([WORKER, "abandoned"], 2)
