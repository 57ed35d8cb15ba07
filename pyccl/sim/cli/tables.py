"""Tables on standard output."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 160
"""Columns of what is not a terminal."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # rich would exit with 1


def console() -> Console:
    """Return standard output; where it is no terminal, lines are not broken at 80 columns."""
    return _Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)


def show(title: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, text_columns: int = 1) -> None:
    """Print a table; columns after the first few are numbers."""
    console().print(Text(title, style="bold"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, show_header=any(head))
    for i, name in enumerate(head):
        table.add_column(name, justify="left" if i < text_columns else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console().print(table)


def say(text: str) -> None:
    """Print a line."""
    console().print(Text(text), soft_wrap=True)
