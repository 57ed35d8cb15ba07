"""Laws of the MPI transport, each run by the ranks of one mpirun; the laws are in workers/mpi_transport.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from mpi import mpirun

WORKER = Path(__file__).parent / "workers" / "mpi_transport.py"

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("law", ["sizes", "splitting", "outstanding"])
def test_messages_arrive_in_order_and_whole(law: str, size: int) -> None:
    mpirun(WORKER, size, law)


@pytest.mark.parametrize("law", ["tags", "lengths", "withdrawal", "abandoned", "arguments", "lifetimes"])
def test_transport(law: str) -> None:
    mpirun(WORKER, 2, law)
