"""How the survivors of a broken communicator make a new one: on one node without MPI, between nodes with one that can.

On a node they agree in attempts of a few stages: in each, all members post a note and read all others. Deaths are
known for certain (pidfd) and notes outlive their writers. So a member that is gone without its note, or has gone on to
a later attempt, ends the attempt for everybody; the notes of the last stage, all there, are its success for everybody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import TypeVar

import numpy as np

from pyccl import _core
from pyccl.arrays import NumpyArray
from pyccl.bootstrap import Bootstrap, MpiBootstrap
from pyccl.config import Settings
from pyccl.errors import CommError, PeerLost, Timeout
from pyccl.shared_bootstrap import PAUSE, AttemptError, Notes, SharedBootstrap, open_place, place

__all__ = ["Regroup", "regroup_mpi"]

T = TypeVar("T")
_DYING = 1.0  # seconds in which a process whose descriptors are gone shows as dead
_AGREE, _PLACES, _VOTE, _DONE = range(4)


class Regroup:
    """The ranks of one node on their way to a new communicator.

    Parameters
    ----------
    pages : array of uint8, or None
        `Segment.notes` of the broken communicator; None if it has one rank.
    rank, size : int
        In the broken communicator.
    gone : callable
        Returns the ranks that have died or closed it.
    timeout : float
        Of what the new bootstrap does later.
    """

    def __init__(
        self, pages: NumpyArray | None, rank: int, size: int, gone: Callable[[], Collection[int]], timeout: float
    ) -> None:
        self._timeout = timeout
        self._notes = Notes(np.zeros((1, 4096), np.uint8) if pages is None else pages, rank)
        self._rank, self._size, self._gone = rank, size, gone
        self._attempt = 1

    def run(self, build: Callable[[SharedBootstrap], T], discard: Callable[[T], None], timeout: float) -> T:
        """Return what `build` has made from the bootstrap of the survivors; it has succeeded on all of them.

        Raises
        ------
        Timeout
            If a rank that lives has not come.
        CommError
            If `build` has failed somewhere for another reason than a death.
        """
        end = time.monotonic() + timeout
        while True:
            try:
                return self._try(build, discard, end)
            except AttemptError as failed:
                self._attempt = failed.attempt
            except Timeout as error:
                self._attempt += 1
                raise Timeout(f"shrink: {error} within {timeout:g} s", error.missing) from None

    def _tell(self, members: Sequence[int], stage: int, data: bytes, end: float) -> list[bytes]:
        self._notes.post(self._attempt, stage, data, len(data))
        notes = self._notes.gather(members, self._attempt, stage, self._gone, end)
        return [notes[rank][1] for rank in members]

    def _try(self, build: Callable[[SharedBootstrap], T], discard: Callable[[T], None], end: float) -> T:
        absent = set(self._gone())
        members = [rank for rank in range(self._size) if rank not in absent]
        view = bytes(rank in absent for rank in range(self._size))
        if set(self._tell(members, _AGREE, view, end)) != {view}:
            raise AttemptError(self._attempt + 1)
        own = _core.Segment.create(len(members)) if members[0] == self._rank else None
        told = self._tell(members, _PLACES, place(own), end)[0]
        built: T | None = None
        failure: Exception | None = None
        try:
            try:
                segment = own or open_place(told, len(members))
                bootstrap = SharedBootstrap(
                    segment.notes, members.index(self._rank), len(members), max(end - time.monotonic(), PAUSE)
                )
                bootstrap.on_wait = lambda: self._look(members)
                built = build(bootstrap)
            except AttemptError:
                raise
            except Exception as error:  # the peers must hear of it before it can be raised
                failure = error
            self._vote(members, failure, end)
            self._tell(members, _DONE, b"", end)  # whoever dies from here on is seen by the new communicator
        except BaseException:
            if built is not None:
                discard(built)
            raise
        segment.close_descriptor()
        bootstrap.timeout = self._timeout
        assert built is not None
        return built

    def _look(self, members: Sequence[int]) -> None:
        """While building: raise once a member cannot go on with it."""
        gone = self._gone()
        for rank in members:
            vote = self._notes.read(rank, self._attempt, _VOTE)
            if rank in gone or (vote is not None and vote[1]):
                raise PeerLost(rank)

    def _vote(self, members: Sequence[int], failure: Exception | None, end: float) -> None:
        """Return if all have built; next attempt if a death is why not; else the failure, on every rank."""
        reason = b""
        if failure is not None:
            died = isinstance(failure, PeerLost) or self._loses(members)
            reason = b"died" if died else f"{type(failure).__name__}: {failure}".encode()[: self._notes.capacity]
        votes = self._tell(members, _VOTE, reason, end)
        bad = [(rank, vote) for rank, vote in zip(members, votes, strict=True) if vote not in (b"", b"died")]
        if bad:
            rank, text = bad[0]
            with suppress(AttemptError):
                self._tell(members, _DONE, b"", end)  # a retry before all have read the votes would hide them
            self._attempt += 1
            raise CommError(f"shrink: rank {rank} failed: {text.decode(errors='replace')}") from failure
        if b"died" in votes:
            raise AttemptError(self._attempt + 1)

    def _loses(self, members: Sequence[int]) -> bool:
        """Return whether one of them is dying: a process loses its descriptors before it counts as dead."""
        end = time.monotonic() + _DYING
        while time.monotonic() < end:
            if not set(members).isdisjoint(self._gone()):
                return True
            time.sleep(PAUSE)
        return False


def regroup_mpi(
    old: Bootstrap, build: Callable[[MpiBootstrap], T], discard: Callable[[T], None], timeout: float, settings: Settings
) -> T:
    """Do the same for ranks of several nodes, where MPI can go on after a death.

    Raises
    ------
    CommError
        If it cannot.
    Timeout
        If a rank that lives has not come.
    """
    if not isinstance(old, MpiBootstrap) or not old.survives:
        who, else_ = "the ranks of several nodes", ""
        if settings.transport == "mpi":
            who, else_ = "with PYCCL_TRANSPORT=mpi ranks", "; without that setting, those of one host need no MPI"
        raise CommError(f"shrink: {who} can regroup under Open MPI only, started by mpirun --with-ft ulfm{else_}")
    end = time.monotonic() + timeout
    while True:
        fresh = old.shrink(end)
        built: T | None = None
        failure: Exception | None = None
        try:
            built = build(fresh)
        except Exception as error:
            failure = error
        if fresh.agree(built is not None, end):
            assert built is not None
            return built
        if built is not None:
            discard(built)
        if failure is not None and not isinstance(failure, CommError):
            raise failure
        if time.monotonic() > end:
            raise Timeout(f"shrink: the survivors could not regroup within {timeout:g} s") from failure
