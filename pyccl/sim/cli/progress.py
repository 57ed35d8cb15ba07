"""How far a run is: on standard error, and only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextmanager
def spinner(what: str) -> Iterator[None]:
    """Show that something is under way, and for how long."""
    with _bar(SpinnerColumn(), TextColumn(what), TimeElapsedColumn()) as shown:
        shown.add_task("", total=None)
        yield


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that is told how many are done, of how many."""
    with _bar(TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()) as shown:
        task = shown.add_task("", total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


def _bar(*columns: SpinnerColumn | TextColumn | BarColumn | MofNCompleteColumn | TimeElapsedColumn) -> Progress:
    return Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty(),
        redirect_stdout=False, redirect_stderr=False,
    )  # fmt: skip
