"""Under ``PYCCL_DEBUG=1``: does anybody touch the arrays of an asynchronous operation before it has been waited for?"""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from pyccl import _core
from pyccl.arrays import NumpyArray, overlap
from pyccl.calls import Resolved
from pyccl.errors import ConcurrentWrite
from pyccl.flight import caller
from pyccl.point_to_point import Exchange

__all__ = ["InFlight", "WatchedWork"]


def _checksum(a: NumpyArray) -> int:
    return zlib.crc32(a.reshape(-1).view(np.uint8).data)


def _touch(one: Iterable[NumpyArray], other: Iterable[NumpyArray]) -> bool:
    return any(overlap(a, b) for a in one for b in other)


@dataclass(eq=False)
class _Use:
    """The arrays of one operation, and what was in them. `started` and `finished` are called by whoever runs it."""

    text: str
    reads: list[NumpyArray]
    writes: list[NumpyArray]
    problem: str = ""
    _sealed: list[tuple[NumpyArray, int]] = field(default_factory=list)

    @classmethod
    def of(cls, name: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> _Use:
        place = caller()
        text = name + (f" called at {place}" if place else "")
        return cls(text, [a for a in inputs if a is not None], [a for a in outputs if a is not None])

    def seal(self, arrays: Iterable[NumpyArray]) -> None:
        """Remember what is in these arrays now."""
        self._sealed = [(a, _checksum(a)) for a in arrays]

    def started(self) -> None:
        self.compare("before it began")

    def finished(self) -> None:
        self._sealed = [(a, checksum) for a, checksum in self._sealed if not _touch([a], self.writes)]
        self.compare("while it ran")
        self.seal([*self.reads, *self.writes])

    def compare(self, when: str) -> None:
        """Note the first array that is not what it was."""
        for a, before in self._sealed:
            if not self.problem and _checksum(a) != before:
                side = "output" if any(a is b for b in self.writes) else "input"
                self.problem = f"the {side} of {self.text} was written {when}: it is pyccl's until wait() has returned"

    def disturbs(self, other: _Use) -> bool:
        return _touch(self.writes, (*other.reads, *other.writes)) or _touch(self.reads, other.writes)


class WatchedWork:
    """A `Work` that raises `ConcurrentWrite` if its arrays were written meanwhile."""

    def __init__(self, work: _core.Work, use: _Use, forget: Callable[[_Use], bool]) -> None:
        self._work, self._use, self._forget = work, use, forget

    def done(self) -> bool:
        """Return whether it has ended."""
        ended = self._work.done()
        if ended:
            self._release()
        return ended

    def wait(self, timeout: float | None = None) -> Any:
        """Wait for it and return its result."""
        return self._checked(partial(self._work.wait, timeout))

    def result(self) -> Any:
        """Return the result of an operation that is done."""
        return self._checked(self._work.result)

    def _checked(self, get: Callable[[], Any]) -> Any:
        try:
            result = get()
        except Exception:
            if self._work.done():
                self._forget(self._use)  # what a failed operation leaves in its output is undefined
            raise
        self._release()
        if self._use.problem:
            raise ConcurrentWrite(self._use.problem)
        return result

    def _release(self) -> None:
        if self._forget(self._use):
            self._use.compare("before it was waited for")


class InFlight:
    """The asynchronous operations of one communicator that have not been waited for."""

    def __init__(self) -> None:
        self._pending: list[tuple[_Use, weakref.ref[WatchedWork], _core.Work]] = []

    def check(self, name: str, call: Resolved) -> None:
        """Refuse a call that would read what one in flight writes, or write what one in flight uses."""
        self._check(_Use.of(name, [call.arguments.input], [call.arguments.output]))

    def check_messages(self, call: Exchange) -> None:
        """Do the same for messages."""
        self._check(self._messages(call))

    def _check(self, use: _Use) -> None:
        self._pending = [
            row for row in self._pending if not (row[1]() is None and row[2].done())
        ]  # nobody waits for it any more
        for other, _, _ in self._pending:
            if use.disturbs(other):
                raise ValueError(
                    f"{use.text} uses an array of {other.text}, which is still in flight: wait() for that first"
                )

    def submit(self, core: _core.Communicator, name: str, call: Resolved) -> WatchedWork:
        """Start an asynchronous collective."""
        use = _Use.of(name + "_async", [call.arguments.input], [call.arguments.output])
        use.seal([*use.reads, *use.writes])
        return self._add(core.submit(call.arguments, call.result, use), use)

    def exchange(self, core: _core.Communicator, call: Exchange, messages: list[_core.Message]) -> WatchedWork:
        """Start asynchronous messages. Only what is sent is compared: nobody says when the rest has come."""
        use = self._messages(call, "_async")
        self._check(use)
        use.seal(use.reads)
        return self._add(core.launch_async(messages, [], call.result), use)

    @staticmethod
    def _messages(call: Exchange, suffix: str = "") -> _Use:
        sent = [m.array for m in call.messages if m.sends]
        received = [m.array for m in call.messages if not m.sends]
        name = "sendrecv" if sent and received else "send" if sent else "recv"
        return _Use.of(name + suffix, sent, received)

    def _add(self, work: _core.Work, use: _Use) -> WatchedWork:
        watched = WatchedWork(work, use, self._forget)
        self._pending.append((use, weakref.ref(watched), work))
        return watched

    def _forget(self, use: _Use) -> bool:
        """Return whether it was known."""
        before = len(self._pending)
        self._pending = [row for row in self._pending if row[0] is not use]
        return len(self._pending) < before
