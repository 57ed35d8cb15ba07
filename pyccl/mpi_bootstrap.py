"""Ranks that an MPI launcher has started, with the MPI that mpi4py has loaded.

mpi4py is imported, and thereby MPI initialised, when a bootstrap is made, never by importing this module.
"""

from __future__ import annotations

import itertools
import time
from array import array
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from pyccl.errors import CommError, PeerLost, Timeout
from pyccl.farewell import forgo, unfinished
from pyccl.launcher import find_launcher
from pyccl.mpi_library import TIMEOUT, check_launcher, check_library, check_state, import_mpi
from pyccl.roll_call import named, roll_call

if TYPE_CHECKING:
    from mpi4py import MPI

    from pyccl import _core

__all__ = ["MpiBootstrap"]

T = TypeVar("T")
MAX_MESSAGE = 1 << 30
# Payloads up to this size travel in one MPI call: a collective of 8 ranks on 2 cores may cost milliseconds.
INLINE = 256
LENGTH = 8
_WORD = 1.5  # seconds in which a death that MPI has met is seen here, too


class MpiBootstrap:
    """The ranks of an MPI communicator.

    Its collectives run on `comm` itself: call nothing else on that communicator meanwhile. They give up after
    `timeout` and can be interrupted; both leave the communicator unusable.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm, optional
        Default: MPI.COMM_WORLD. It stays the caller's.
    timeout : float, default 300
        Seconds that a collective of this object may take.
    max_message : int, default 2**30
        Bytes; `remote()` cuts longer messages. Must be equal on all ranks, and 8 KiB at least under a communicator.

    Attributes
    ----------
    thread_multiple : bool
        Whether MPI may be called from several threads at once. If not, all of this process's MPI calls, the
        caller's own included, must come from one thread at a time.

    Raises
    ------
    ConfigError
        If there is no usable MPI, if mpirun belongs to another one, or if two are loaded.
    """

    def __init__(
        self, comm: MPI.Intracomm | None = None, *, timeout: float = TIMEOUT, max_message: int = MAX_MESSAGE
    ) -> None:
        self.mpi = mpi = import_mpi(timeout)
        check_state(mpi)
        check_library(mpi)
        if comm is not None and not isinstance(comm, mpi.Comm):
            raise TypeError(f"mpi_comm must be an mpi4py.MPI.Comm, got {type(comm).__name__}")
        self._comm: MPI.Intracomm = mpi.COMM_WORLD if comm is None else comm
        if self._comm == mpi.COMM_NULL or self._comm.Is_inter():
            raise ValueError("comm must be an intracommunicator that this rank belongs to")
        if self._comm != mpi.COMM_SELF:
            check_launcher(mpi, find_launcher())
        self.rank: int = self._comm.Get_rank()
        self.size: int = self._comm.Get_size()
        self.thread_multiple: bool = mpi.Query_thread() >= mpi.THREAD_MULTIPLE
        self._timeout, self._max_message = timeout, max_message
        self._owned: list[MPI.Intracomm] = []
        self._remote: _core.MpiRemote | None = None
        self._unfinished: MPI.Request | None = None
        self._stuck = False  # in a call that a thread is left with
        # called at least every 50 ms of a wait; may raise. Until there is a communicator, which knows more:
        self.on_wait: Callable[[], None] = partial(_call_roll, self._launched())

    def _launched(self) -> Sequence[int]:
        """Return the launcher's numbers of the ranks."""
        if self.everybody:
            return range(self.size)
        mpi = self.mpi
        mine, world = self._comm.Get_group(), mpi.COMM_WORLD.Get_group()
        ranks: Sequence[int] = mpi.Group.Translate_ranks(mine, range(self.size), world)
        mine.Free()
        world.Free()
        return ranks

    def allgather(self, data: bytes) -> list[bytes]:
        byte = self.mpi.BYTE
        record = len(data).to_bytes(LENGTH, "little") + data[:INLINE].ljust(INLINE, b"\0")
        step = len(record)
        records = bytearray(step * self.size)
        self._finish("allgather", lambda: self._comm.Iallgather([record, byte], [records, byte]))
        rows = [bytes(records[i : i + step]) for i in range(0, len(records), step)]
        counts = [int.from_bytes(row[:LENGTH], "little") for row in rows]
        if max(counts) <= INLINE:
            return [row[LENGTH : LENGTH + count] for row, count in zip(rows, counts, strict=True)]
        whole = bytearray(sum(counts))
        self._finish("allgather", lambda: self._comm.Iallgatherv([data, byte], [whole, counts, None, byte]))
        ends = [sum(counts[: i + 1]) for i in range(self.size)]
        return [bytes(whole[end - count : end]) for end, count in zip(ends, counts, strict=True)]

    def barrier(self) -> None:
        self._finish("barrier", lambda: self._comm.Ibarrier())

    def split(self, color: int | None, key: int) -> MpiBootstrap | None:
        if color is not None and color < 0:
            raise ValueError(f"color must not be negative, got {color}")
        if self.size == 1:  # nothing to divide, and COMM_SELF stays COMM_SELF
            return None if color is None else MpiBootstrap(self._comm, timeout=self._timeout)
        self.barrier()  # Split has no deadline of its own: let a missing rank be noticed here
        comm = self._apart("split", lambda: self._comm.Split(self.mpi.UNDEFINED if color is None else color, key))
        return None if comm == self.mpi.COMM_NULL else self._child(comm)

    def _child(self, comm: MPI.Comm) -> MpiBootstrap:
        child = MpiBootstrap(cast("MPI.Intracomm", comm), timeout=self._timeout, max_message=self._max_message)
        child._owned.append(child._comm)
        return child

    @property
    def everybody(self) -> bool:
        """Whether these are all of MPI's ranks."""
        return bool(self._comm == self.mpi.COMM_WORLD)

    @property
    def survives(self) -> bool:
        """Whether this MPI can make a communicator of those whom a death has left."""
        return self.mpi.Get_library_version().startswith("Open MPI v") and hasattr(self._comm, "Shrink")

    def shrink(self, end: float) -> MpiBootstrap:
        """Return the ranks that live, in order; collective among them, until the monotonic time `end`."""
        self.agree(True, end)  # Shrink has no deadline of its own, and Open MPI's Ishrink fails
        return self._child(self._comm.Shrink())

    def agree(self, fine: bool, end: float) -> bool:
        """Return whether all that live are fine, on all of them alike; one that is not ends the others' operations."""
        if not fine:
            self._comm.Revoke()
        while True:
            self._comm.Ack_failed()
            request = self._comm.Iagree(flag := array("i", [fine]))
            try:
                while not request.Test():
                    if time.monotonic() > end:
                        raise Timeout("shrink: a rank that lives did not come in time")
                    time.sleep(1e-4)
            except self.mpi.Exception as error:
                if error.Get_error_class() != self.mpi.ERR_PROC_FAILED:
                    raise CommError(f"shrink: {error}") from error
            else:
                return flag[0] == 1  # with a death that somebody has not acknowledged, all try again

    def remote(self) -> _core.MpiRemote | None:
        if self._remote is None and self.size > 1:
            self.barrier()  # as in split
            # A communicator of our own: no message of the caller's can meet ours, and errors return whatever his do.
            private = self._apart("dup", self._comm.Dup)
            self._owned.append(private)
            private.Set_errhandler(self.mpi.ERRORS_RETURN)
            self._remote = self._connect(private)
        return self._remote

    def _connect(self, comm: MPI.Intracomm) -> _core.MpiRemote:
        from pyccl import _core

        mpi = self.mpi
        return _core.MpiRemote(
            library=mpi.__file__,
            handle_bytes=mpi._sizeof(comm),
            communicator=mpi._addressof(comm),
            byte=mpi._addressof(mpi.BYTE),
            null_request=mpi._addressof(mpi.REQUEST_NULL),
            size=self.size,
            max_message=self._max_message,
        )

    def close(self) -> None:
        if self.mpi.Is_finalized() or self._unfinished is not None or self._stuck:
            return
        if self._remote is not None and self._remote.pending:
            return  # freeing a communicator in use could block; a leaked one cannot
        while self._owned:
            self._owned.pop().Free()

    def _apart(self, what: str, call: Callable[[], T]) -> T:
        from pyccl.apart import run_apart

        if not self.thread_multiple:
            return call()
        end = time.monotonic() + self._timeout

        def look() -> None:
            self.on_wait()
            if time.monotonic() > end:
                raise Timeout(f"bootstrap {what}: not all {self.size} ranks came within {self._timeout:g} s")

        self._stuck = True
        comm = run_apart(call, look)
        self._stuck = False
        return comm

    def _finish(self, what: str, start: Callable[[], MPI.Request]) -> None:
        """Run a collective to its end, sleeping rather than spinning: its peers may share this core."""
        if self._unfinished is not None:
            raise CommError(f"bootstrap {what}: an earlier collective of this communicator has not finished")
        deadline = time.monotonic() + self._timeout
        try:
            self._unfinished = request = start()  # keeps the buffers alive if we leave early
            for attempt in itertools.count():
                if request.Test():
                    break
                if attempt % 50 == 49:
                    self.on_wait()
                if time.monotonic() > deadline:
                    raise Timeout(f"bootstrap {what}: not all {self.size} ranks came within {self._timeout:g} s")
                time.sleep(min(1e-5 * (attempt // 20), 1e-3))
            self._unfinished = None
        except self.mpi.Exception as error:
            if error.Get_error_class() != self.mpi.ERR_REVOKED:  # by a rank that lives
                self._await_word()
            raise CommError(f"bootstrap {what}: {error}") from error
        finally:
            if self._unfinished is not None:
                unfinished()

    def _await_word(self) -> None:
        """Raise the death that may be why MPI has failed."""
        end = time.monotonic() + _WORD
        while time.monotonic() < end:
            self.on_wait()
            time.sleep(0.05)


def _call_roll(launched: Sequence[int]) -> None:
    ended = set(roll_call().ended())
    ranks = [rank for rank, number in enumerate(launched) if number in ended]
    if ranks:
        forgo()  # MPI's own end would wait for them
        raise PeerLost(ranks[0], f"{named(ranks)} ended before all ranks had come: no communicator can be made")
