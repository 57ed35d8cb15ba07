"""The last operations of a communicator, as records."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["FlightRecord"]

_PACKAGE = str(Path(__file__).resolve().parent) + "/"


@dataclass(frozen=True)
class FlightRecord:
    """One operation of a communicator.

    Attributes
    ----------
    number : int
        Of the operation in this communicator on this rank, from 1.
    sequence : int
        Of a collective: its number, the same on every rank. Of a message: its number among those of the pair. 0 while
        it is queued.
    kind : str
        The name of a collective, or "send", "recv", "empty", "register", "split", "group" (its beginning) or "refused"
        (a call that was bad here).
    op, dtype, algorithm : str
        Empty where there is none.
    count : int
        Elements of the large side; of "empty" and "register" bytes, of "group" collectives.
    nbytes : int
    peer : int
        The root, or the other end of a message; -1 if there is none.
    tag : int
    state : str
        "queued", "running", "done" or "failed".
    queued, start, end : float or None
        Seconds of the monotonic clock; None for what has not happened yet.
    wall_start : float or None
        `start` as seconds since 1970.
    place : str
        ``file:line`` of the user's call. Known under ``PYCCL_TRACE`` and ``PYCCL_DEBUG=1``, and of a blocking operation
        that has waited longer than a few tens of milliseconds; empty otherwise.
    error : str
        Why it failed; empty otherwise, and when more than 64 operations have failed since.
    """

    number: int
    sequence: int
    kind: str
    op: str
    dtype: str
    count: int
    nbytes: int
    algorithm: str
    peer: int
    tag: int
    state: str
    queued: float | None
    start: float | None
    end: float | None
    place: str
    error: str
    wall_start: float | None

    @property
    def seconds(self) -> float | None:
        """How long it ran; None if it has not ended."""
        return None if self.start is None or self.end is None else self.end - self.start

    def __str__(self) -> str:
        details = [self.dtype, f"count={self.count}", self.op, self.algorithm]
        if self.peer >= 0:
            details.append(f"peer={self.peer}" if self.kind in ("send", "recv") else f"root={self.peer}")
        inside = ", ".join(detail for detail in details if detail)
        text = f"{self.kind}({'' if self.kind in ('barrier', 'refused') else inside}) #{self.sequence} {self.state}"
        if self.seconds is not None:
            text += f" after {self.seconds * 1e6:.0f} us"
        text += f", called at {self.place}" if self.place else ""
        return text + (f": {self.error}" if self.error else "")


def records(rows: Sequence[tuple[Any, ...]]) -> list[FlightRecord]:
    """Return what the core has recorded, oldest first."""
    offset = time.time() - time.monotonic()
    return [FlightRecord(*(*row, None if row[12] is None else row[12] + offset)) for row in rows]


def caller() -> str:
    """Return ``file:line`` of the innermost frame that is not pyccl's own, "" if there is none."""
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back  # type: ignore[assignment]
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""
