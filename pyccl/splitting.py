"""How the members of a split find each other: through the communicator that they come from.

Its collectives have deadlines, see deaths, and break it for all of its ranks alike. So all of those take part in every
exchange, whatever their color, until all are done; then either all have their new communicator, or none.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from pyccl.arrays import NumpyArray
from pyccl.bootstrap import Bootstrap, SingleBootstrap
from pyccl.errors import CommError, PeerAborted

if TYPE_CHECKING:
    from pyccl import _core

__all__ = ["Members", "part", "split_through"]

T = TypeVar("T")
_FRAME = 512  # bytes that every rank contributes to an exchange
_HEAD = struct.Struct("<BH")  # state, bytes of data
_WISH = struct.Struct("<?qq")  # whether to be in a child at all, color, key
_GOES_ON, _DONE, _FAILED = range(3)


class Parent(Protocol):
    """What is needed of the communicator that is split."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def _gather_for(self, purpose: str, x: NumpyArray) -> NumpyArray: ...


class Members:
    """The bootstrap of the ranks that will share a communicator.

    Parameters
    ----------
    parent : Communicator
    ranks : sequence of int
        The members, in the order of the new communicator; empty for a rank that will have none.
    mpi : Bootstrap, optional
        The members once more, with a transport between nodes.
    """

    def __init__(self, parent: Parent, ranks: Sequence[int], mpi: Bootstrap | None = None) -> None:
        self._parent, self._ranks, self._mpi = parent, tuple(ranks), mpi
        self.rank = self._ranks.index(parent.rank) if self._ranks else -1
        self.size = len(self._ranks)
        self._failed: tuple[int, str] | None = None  # who failed first; the same on all ranks

    def _exchange(self, state: int, data: bytes) -> list[tuple[int, bytes]]:
        frame = _HEAD.pack(state, len(data)) + data
        if len(frame) > _FRAME:
            raise CommError(f"split: {len(data)} bytes do not fit an exchange")
        mine = np.frombuffer(frame.ljust(_FRAME, b"\0"), np.uint8)
        found = []
        for row in self._parent._gather_for("split", mine).reshape(self._parent.size, _FRAME):
            text = row.tobytes()
            state, count = _HEAD.unpack_from(text)
            found.append((state, text[_HEAD.size : _HEAD.size + count]))
        for rank, (state, said) in enumerate(found):
            if state == _FAILED and self._failed is None:
                self._failed = rank, said.decode(errors="replace")
        return found

    def allgather(self, data: bytes) -> list[bytes]:
        found = self._exchange(_GOES_ON, data)
        if self._failed is not None:
            raise CommError("split: a rank has failed")
        return [found[rank][1] for rank in self._ranks]

    def barrier(self) -> None:
        self.allgather(b"")

    def finish(self, failure: Exception | None) -> None:
        """Wait for all ranks of the parent; raise if one of them has failed."""
        text = "" if failure is None else f"{type(failure).__name__}: {failure}"
        state = _DONE if failure is None else _FAILED
        while any(other == _GOES_ON for other, _ in self._exchange(state, text.encode()[: _FRAME - _HEAD.size])):
            pass
        if self._failed is None:
            return
        rank, reason = self._failed
        if failure is not None and rank == self._parent.rank:
            raise failure
        raise PeerAborted(rank, reason, f"split failed on rank {rank}: {reason}") from failure

    def split(self, color: int | None, key: int) -> Bootstrap | None:
        raise CommError("the members of a split cannot be split before they have a communicator")

    def remote(self) -> _core.Remote | None:
        if self._mpi is None:
            raise CommError("split: ranks that shared memory before do not share it any more")
        return self._mpi.remote()

    def lasting(self) -> Bootstrap:
        """Return what the new communicator keeps: it must not hold its parent."""
        return self._mpi or SingleBootstrap()

    def close(self) -> None:
        self.lasting().close()


def part(parent: Parent, color: int | None, key: int) -> list[int]:
    """Return the ranks that give my color, ordered by key, then rank; none of them for the color None. Collective."""
    wish = np.frombuffer(_WISH.pack(color is not None, color or 0, key), np.uint8)
    rows = parent._gather_for("split", wish).reshape(parent.size, _WISH.size)
    wishes = [_WISH.unpack(row.tobytes()) for row in rows]
    fellows = [rank for rank, (there, other, _) in enumerate(wishes) if there and other == color]
    return sorted(fellows, key=lambda rank: (wishes[rank][2], rank))


def split_through(
    members: Members, build: Callable[[Members], T], discard: Callable[[T], None], core: _core.Communicator
) -> T | None:
    """Return what `build` has made of the members, on all ranks of the parent or on none.

    An interruption breaks the parent, `core`: its ranks are amid an exchange.
    """
    built: T | None = None
    failure: Exception | None = None
    try:
        if members.size:
            try:
                built = build(members)
            except Exception as error:
                if core.broken():
                    raise
                failure = error
        members.finish(failure)
    except BaseException as error:
        if not isinstance(error, Exception):
            core.abort(f"{type(error).__name__} in split")
        if built is not None:
            discard(built)
        raise
    return built
