"""Where a communicator's ranks come from: who I am, how many we are, and a slow way to tell each other small things.

Three sources: MPI, the threads of one process (for tests), and a process on its own. mpi4py is imported when an MPI
bootstrap is made, never by importing this module.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pyccl.errors import ConfigError, Timeout
from pyccl.launcher import find_launcher
from pyccl.mpi_bootstrap import MpiBootstrap
from pyccl.mpi_library import TIMEOUT, import_mpi

if TYPE_CHECKING:
    from pyccl import _core

__all__ = ["Bootstrap", "MpiBootstrap", "SingleBootstrap", "ThreadBootstrap", "world_bootstrap"]

T = TypeVar("T")


class Bootstrap(Protocol):
    """What a communicator needs to come to life. Every method but `close` is collective: all ranks call it."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def allgather(self, data: bytes) -> list[bytes]:
        """Return every rank's `data`, in rank order; the lengths may differ."""
        ...

    def barrier(self) -> None:
        """Return once every rank has come."""
        ...

    def split(self, color: int | None, key: int) -> Bootstrap | None:
        """Return the ranks with my `color` (>= 0), ordered by `key`, then rank; None for the color None."""
        ...

    def remote(self) -> _core.Remote | None:
        """Return what carries messages to ranks of other nodes, the same object each time; None if nothing can."""
        ...

    def close(self) -> None:
        """Free what this object has made; its `remote()` must not be used again. Not collective, may be repeated."""
        ...


class SingleBootstrap:
    """A process on its own."""

    rank = 0
    size = 1

    def allgather(self, data: bytes) -> list[bytes]:
        return [bytes(data)]

    def barrier(self) -> None:
        pass

    def split(self, color: int | None, key: int) -> SingleBootstrap | None:
        return None if color is None else SingleBootstrap()

    def remote(self) -> None:
        return None

    def close(self) -> None:
        pass


class _Table:
    """What the threads of a `ThreadBootstrap` share."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size)
        self.entries: list[Any] = [None] * size


class ThreadBootstrap:
    """One of several ranks that are threads of one process, for tests and race detectors; see `group`."""

    def __init__(self, table: _Table, rank: int, timeout: float) -> None:
        self.rank = rank
        self.size = len(table.entries)
        self._table, self._timeout = table, timeout

    @classmethod
    def group(cls, size: int, timeout: float = TIMEOUT) -> list[ThreadBootstrap]:
        """Return one bootstrap for each of `size` threads."""
        if size < 1:
            raise ValueError(f"size must be positive, got {size}")
        table = _Table(size)
        return [cls(table, rank, timeout) for rank in range(size)]

    def allgather(self, data: bytes) -> list[bytes]:
        return self._exchange(bytes(data))

    def barrier(self) -> None:
        try:
            self._table.barrier.wait(self._timeout)
        except threading.BrokenBarrierError:
            raise Timeout(f"not all {self.size} threads came within {self._timeout:g} s") from None

    def _exchange(self, mine: T) -> list[T]:
        self._table.entries[self.rank] = mine
        self.barrier()
        entries = list(self._table.entries)
        self.barrier()  # nobody may write the next entry before all have read this one
        return entries

    def split(self, color: int | None, key: int) -> ThreadBootstrap | None:
        if color is not None and color < 0:
            raise ValueError(f"color must not be negative, got {color}")
        wishes = self._exchange((color, key, self.rank))
        members = [rank for c, _, rank in sorted((w for w in wishes if w[0] == color), key=lambda wish: wish[1:])]
        leads = color is not None and self.rank == members[0]
        tables = self._exchange(_Table(len(members)) if leads else None)
        table = tables[members[0]]
        return None if table is None else ThreadBootstrap(table, members.index(self.rank), self._timeout)

    def remote(self) -> None:
        return None

    def close(self) -> None:
        pass


def world_bootstrap(timeout: float = TIMEOUT) -> Bootstrap:
    """Return all ranks that the launcher has started; a single rank where there is neither launcher nor MPI."""
    try:
        mpi = import_mpi(timeout)
    except ConfigError:
        if find_launcher() is not None:
            raise
        return SingleBootstrap()
    return MpiBootstrap(mpi.COMM_WORLD, timeout=timeout)
