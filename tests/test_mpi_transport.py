"""Laws of the MPI transport, run by the ranks of an mpirun; the laws are in workers/mpi_transport.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import mpi

WORKER = Path(__file__).parent / "workers" / "mpi_transport.py"

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("size", [2, 3, 4])
def test_messages_arrive_whole_and_in_order(size: int) -> None:
    mpi.mpirun([str(WORKER), "sizes", "splitting", "outstanding"], size)


def test_errors_and_lifetimes() -> None:
    mpi.mpirun([str(WORKER), "tags", "lengths", "unknown_lengths", "withdrawal", "arguments", "lifetimes"], 2)


def test_abandoned_requests_neither_hang_nor_crash() -> None:
    mpi.mpirun([str(WORKER), "abandoned"], 2)


def test_the_standard_abi_of_mpi_5() -> None:
    library = Path(mpi.launcher().path).resolve().parents[1] / "lib" / "libmpi_abi.so.1"
    if not library.is_file():
        pytest.skip(f"this MPI has no {library.name}")
    mpi.mpirun([str(WORKER.with_name("mpi_abi.py")), str(library)], 2)
