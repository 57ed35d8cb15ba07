"""What the bench needs of pyccl's communicator and of mpi4py, as types: a stand-in can take their place in a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from mpi4py import MPI
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Call = Callable[[], object]


class Communicator(Protocol):
    """The part of `pyccl.Communicator` that is timed."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def nodes(self) -> Sequence[int]: ...  # node index of every rank

    def barrier(self) -> None: ...

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array: ...

    def plan(self, collective: str, *args: Any, **options: Any) -> Call: ...

    def __enter__(self) -> Communicator: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Library(NamedTuple):
    """What the bench asks of the library itself."""

    version: str
    algorithms: Callable[[str, int], Sequence[str]]
    premul_sum: Callable[[float], Any]


class World:
    """One run: the communicator under test, MPI's over the same ranks, and what else of the library is needed."""

    def __init__(self, make: Callable[[MPI.Intracomm], Communicator], mpi: MPI.Intracomm, library: Library) -> None:
        comm = make(mpi)
        if (comm.rank, comm.size) != (mpi.rank, mpi.size):
            raise RuntimeError(f"pyccl is rank {comm.rank} of {comm.size}, MPI rank {mpi.rank} of {mpi.size}")
        self._make = make
        self.comm, self.mpi, self.library = comm, mpi, library
        self.rank, self.size = comm.rank, comm.size
        self.nodes = len(set(comm.nodes))

    def part(self, mpi: MPI.Intracomm) -> World:
        """Return the same library over some of the ranks."""
        return World(self._make, mpi, self.library)

    def agree(self, values: Sequence[int]) -> list[int]:
        """Return rank 0's whole numbers on every rank."""
        array = np.array(values, np.int64)
        self.mpi.Bcast(array, root=0)
        return [int(value) for value in array]

    def say(self, text: str) -> None:
        """Print on rank 0 alone."""
        if self.rank == 0:
            print(text, flush=True)


def connect() -> World:
    """Start pyccl over `MPI.COMM_WORLD`."""
    from mpi4py import MPI

    import pyccl
    from pyccl.algorithms import algorithms
    from pyccl.ops import premul_sum

    library = Library(pyccl.__version__, algorithms, premul_sum)
    return World(pyccl.Communicator, MPI.COMM_WORLD, library)
