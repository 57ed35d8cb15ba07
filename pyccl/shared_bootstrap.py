"""What ranks that share memory tell each other there: notes, and a bootstrap made of them.

Every rank owns a page that it alone writes and that outlives it (`Segment.notes`). What is written there is a fact that
all see alike, whoever dies afterwards.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Callable, Collection

from pyccl import _core
from pyccl.arrays import NumpyArray
from pyccl.errors import CommError, Timeout

__all__ = ["AttemptError", "Notes", "SharedBootstrap", "open_place", "place"]

PAUSE = 1e-3  # seconds between two looks at the notes
_HEAD = struct.Struct("<QQIII")  # attempt, stage, bytes of the whole, bytes in this note, checksum of all
_PLACE = struct.Struct("<qi16s")  # pid, descriptor, nonce
_WISH = struct.Struct("<?qq")  # whether to be in a child at all, color, key


class AttemptError(Exception):
    """This attempt has failed for every member; `attempt` is the next one."""

    def __init__(self, attempt: int) -> None:
        super().__init__(attempt)
        self.attempt = attempt


class Notes:
    """The pages of all ranks. A rank writes the halves of its own in turn: no reader is two notes behind its writer."""

    def __init__(self, pages: NumpyArray, rank: int) -> None:
        self._pages = [memoryview(page) for page in pages]
        self._half: int = pages.shape[1] // 2
        self._mine = self._pages[rank]
        self._turn = 0

    @property
    def capacity(self) -> int:
        """Bytes of one note."""
        return self._half - _HEAD.size

    def post(self, attempt: int, stage: int, data: bytes, whole: int) -> None:
        """Write a note: `data` is all, or a piece, of `whole` bytes."""
        start = self._half * (self._turn % 2)
        self._turn += 1
        seal = zlib.crc32(_HEAD.pack(attempt, stage, whole, len(data), 0) + data)
        self._mine[start : start + _HEAD.size + len(data)] = (
            _HEAD.pack(attempt, stage, whole, len(data), seal) + data
        )  # a reader that sees half of this sees a wrong checksum

    def read(self, rank: int, attempt: int, stage: int) -> tuple[int, bytes] | None:
        """Return the length of the whole and this piece of it; None if it has not been written."""
        latest, found = attempt, None
        for start in (0, self._half):
            copy = bytes(self._pages[rank][start : start + self._half])
            a, s, whole, count, seal = _HEAD.unpack_from(copy)
            data = copy[_HEAD.size : _HEAD.size + count]
            if zlib.crc32(_HEAD.pack(a, s, whole, count, 0) + data) != seal:
                continue
            latest = max(latest, a)
            if (a, s) == (attempt, stage):
                found = whole, data
        if latest > attempt:
            raise AttemptError(latest)
        return found

    def gather(
        self, ranks: Collection[int], attempt: int, stage: int, gone: Callable[[], Collection[int]], end: float
    ) -> dict[int, tuple[int, bytes]]:
        """Wait for the notes of all `ranks`."""
        found: dict[int, tuple[int, bytes]] = {}
        while True:
            late = time.monotonic() > end
            absent = gone()  # asked before reading: what a rank wrote before it died counts
            for rank in ranks:
                note = None if rank in found else self.read(rank, attempt, stage)
                if note is not None:
                    found[rank] = note
            missing = [rank for rank in ranks if rank not in found]
            if not missing:
                return found
            if any(rank in absent for rank in missing):
                raise AttemptError(attempt + 1)
            if late:
                raise Timeout(f"rank(s) {', '.join(map(str, missing))} did not come", missing)
            time.sleep(PAUSE)


class SharedBootstrap:
    """The ranks that have mapped one segment: all on one node.

    Attributes
    ----------
    timeout : float
        Seconds that a collective of this object may take.
    on_wait : callable
        Called every millisecond of a wait; may raise.
    """

    def __init__(self, pages: NumpyArray, rank: int, size: int, timeout: float) -> None:
        self.rank, self.size, self.timeout = rank, size, timeout
        self.on_wait: Callable[[], None] = lambda: None
        self._notes = Notes(pages, rank)
        self._stage = 0

    def allgather(self, data: bytes) -> list[bytes]:
        step, end = self._notes.capacity, time.monotonic() + self.timeout
        parts = [b""] * self.size
        longest = 1
        position = 0
        while position < longest:
            self._stage += 1
            self._notes.post(0, self._stage, data[position : position + step], len(data))
            for rank, (whole, part) in self._gather(end).items():
                parts[rank] += part
                longest = max(longest, whole)
            position += step
        return parts

    def _gather(self, end: float) -> dict[int, tuple[int, bytes]]:
        def gone() -> tuple[int, ...]:
            self.on_wait()
            return ()

        try:
            return self._notes.gather(range(self.size), 0, self._stage, gone, end)
        except Timeout as error:
            raise Timeout(f"{error} within {self.timeout:g} s", error.missing) from None

    def barrier(self) -> None:
        self.allgather(b"")

    def split(self, color: int | None, key: int) -> SharedBootstrap | None:
        if color is not None and color < 0:
            raise ValueError(f"color must not be negative, got {color}")
        wishes = [_WISH.unpack(wish) for wish in self.allgather(_WISH.pack(color is not None, color or 0, key))]
        fellows = [rank for rank, wish in enumerate(wishes) if wish[:2] == wishes[self.rank][:2]]
        members = sorted(fellows, key=lambda rank: (wishes[rank][2], rank))
        own = _core.Segment.create(len(members)) if color is not None and members[0] == self.rank else None
        places = self.allgather(place(own))
        segment = None if color is None else own or open_place(places[members[0]], len(members))
        self.barrier()  # all have mapped it
        if segment is None:
            return None
        segment.close_descriptor()
        return SharedBootstrap(segment.notes, members.index(self.rank), len(members), self.timeout)

    def remote(self) -> None:
        raise CommError("ranks that shared memory before do not share it any more")

    def close(self) -> None:
        pass


def place(segment: _core.Segment | None) -> bytes:
    """Return where others find a segment."""
    return b"" if segment is None else _PLACE.pack(os.getpid(), segment.fd, segment.nonce)


def open_place(told: bytes, size: int) -> _core.Segment:
    """Map the segment at a place."""
    pid, fd, nonce = _PLACE.unpack(told)
    return _core.Segment.open(pid, fd, size, nonce)
