"""Measured collectives: the output of nccl-tests, and SimAI's tables of bandwidth ratios."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NamedTuple

from pyccl.collectives import COLLECTIVES
from pyccl.sim.formats.source import Source, show

__all__ = ["Measured", "Ratios", "read", "read_ratios"]

MAX_ROWS = 1 << 20
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
GIGA = 1e9
MICRO = 1e-6


class Measured(NamedTuple):
    """One row: bytes of the large side, seconds of a call out of place, bus bandwidth in bytes/s, ranks or 0."""

    collective: str
    nbytes: int
    time: float
    busbw: float
    ranks: int


class Ratios(NamedTuple):
    """``values[i][j]``: fraction of the peak bus bandwidth at ``sizes[i]`` bytes in case ``columns[j]``, or None."""

    columns: tuple[str, ...]
    sizes: tuple[int, ...]
    values: tuple[tuple[float | None, ...], ...]


def read(path: str | Path, collective: str | None = None) -> list[Measured]:
    """Read what all_reduce_perf and its sisters print, warnings of NCCL between the rows included.

    Parameters
    ----------
    path : str or Path
    collective : str, optional
        What was measured; default: from a line that names the program, else from the file's name.

    Raises
    ------
    ConfigError
        If there are no rows, a row has no sound numbers, or the collective is not said; with the line.
    """
    rows: list[tuple[int, float, float]] = []
    ranks, found, wide = 0, collective, True
    with Source(path) as source:
        found = found or _named(source.path.name)
        for number, raw in source.lines():
            line = raw.decode("utf-8", "replace").strip()
            found = found or _named(line)
            if line.startswith("#"):
                ranks = max(ranks, *(int(r) + 1 for r in re.findall(r"\bRank\s+(\d{1,7})\b", line)), 0)
                wide = "root" in line if re.match(r"#\s+size\s+count", line) else wide
                continue
            words = line.split()
            if len(words) < 8 or not words[0].isdigit() or not words[1].isdigit():
                continue  # what NCCL or the launcher has printed
            figures = words[5 if wide else 4 :][:3]
            if len(figures) < 3 or not all(NUMBER.fullmatch(w) for w in figures) or len(words[0]) > 18:
                raise source.error(
                    f"expected size count type redop root time algbw busbw, got {show(line)}", line=number
                )
            rows.append((int(words[0]), float(figures[0]) * MICRO, float(figures[2]) * GIGA))
            if len(rows) > MAX_ROWS or not all(map(math.isfinite, rows[-1])):
                raise source.error(f"a number is too large, or there are more than {MAX_ROWS} rows", line=number)
        if found is None or found not in COLLECTIVES:
            raise source.error(f"does not say what was measured; pass collective= one of {', '.join(COLLECTIVES)}")
        if not rows:
            raise source.error("has no rows 'size count type redop root time algbw busbw'")
    return [Measured(found, nbytes, time, busbw, ranks) for nbytes, time, busbw in rows]


def _named(text: str) -> str | None:
    found = re.search(r"(\w+?)_perf\b", text, re.ASCII)
    name = {"alltoall": "all_to_all"}.get(found[1], found[1]) if found else ""
    return name if name in COLLECTIVES else None


def read_ratios(path: str | Path) -> Ratios:
    """Read a table of SimAI: ``Size,column,…`` and rows of fractions in [0, 1], empty where nothing was measured.

    Raises
    ------
    ConfigError
        If a row has other columns, a fraction is none, or sizes do not ascend; with the line.
    """
    columns: tuple[str, ...] = ()
    sizes: list[int] = []
    values: list[tuple[float | None, ...]] = []
    with Source(path) as source:
        for number, raw in source.lines():
            cells = [cell.strip() for cell in raw.decode("utf-8", "replace").split(",")]
            if not any(cells):
                continue
            if not columns:
                if cells[0].lower() != "size" or len(cells) < 2:
                    raise source.error(f"expected 'Size,…', got {show(','.join(cells))}", line=number)
                columns = tuple(cells[1:])
                continue
            good = re.fullmatch(r"[0-9]{1,18}", cells[0]) and len(cells) == len(columns) + 1
            if not good or any(c and (not NUMBER.fullmatch(c) or float(c) > 1) for c in cells[1:]):
                raise source.error(f"expected a size and {len(columns)} fractions from 0 to 1", line=number)
            if (sizes and int(cells[0]) <= sizes[-1]) or len(sizes) >= MAX_ROWS:
                raise source.error(f"sizes must ascend, got {cells[0]}", line=number)
            sizes.append(int(cells[0]))
            values.append(tuple(float(c) if c else None for c in cells[1:]))
        if not sizes:
            raise source.error("has no rows")
    return Ratios(columns, tuple(sizes), tuple(values))
