"""How far the run is: a bar on a terminal, a plain line now and then elsewhere; rank 0, on stderr."""

from __future__ import annotations

import sys
from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from types import TracebackType

EVERY = 15.0
"""Seconds between two plain lines."""


class Meter:
    """Counts finished cases; on ranks other than 0 it does nothing."""

    def __init__(self, total: int, *, shown: bool) -> None:
        self._total, self._done, self._shown = total, 0, shown
        self._start = self._last = monotonic()
        self._bar: Progress | None = None
        if shown and sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(
                *columns,
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=sys.stdout.isatty(),
                redirect_stderr=False,
            )
            self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> Meter:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def begin(self, name: str) -> None:
        """Say what is being measured."""
        if self._bar:
            self._bar.update(self._task, description=name)
        elif self._shown and monotonic() - self._last >= EVERY:
            self._last = monotonic()
            seconds = self._last - self._start
            print(f"{self._done} of {self._total} done after {seconds:.0f} s, now {name}", file=sys.stderr, flush=True)

    def advance(self) -> None:
        """Count one as finished."""
        self._done += 1
        if self._bar:
            self._bar.advance(self._task)
