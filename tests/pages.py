"""Arrays at chosen places in memory, and how much of them is shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pyccl.arrays import span

PAGE = 4096


def moved(x: Any) -> int:
    """Return how many bytes of an array's memory are shared with the peers."""
    start, end = span(x)
    total = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "memfd:pyccl" in line:
            first, last = (int(part, 16) for part in line.split(" ")[0].split("-"))
            total += max(0, min(last, end) - max(first, start))
    return total


def whole_pages(x: Any) -> int:
    start, end = span(x)
    return max(0, end // PAGE * PAGE - -(-start // PAGE) * PAGE)


def inside(arena: np.ndarray[Any, Any], start: int, count: int, dtype: Any = np.int64) -> np.ndarray[Any, Any]:
    """Return an array in `arena`, a uint8 one, so that bytes of others lie beside it."""
    return arena[start : start + count * np.dtype(dtype).itemsize].view(dtype)


def aligned(nbytes: int) -> np.ndarray[Any, Any]:
    """Return an arena that begins with a page."""
    memory = np.empty(nbytes + PAGE, np.uint8)
    return memory[-span(memory)[0] % PAGE :][:nbytes]
