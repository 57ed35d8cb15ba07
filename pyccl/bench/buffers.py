"""Memory of the bench: two flat buffers a rank, taken once for the largest case and shared by all of them."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .units import format_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .interface import World

    Array = NDArray[Any]

HEADROOM = 0.9
MARGIN = 64 << 20
"""Bytes a rank for tables, Python's own and the library's staging area."""


class OutOfMemoryError(Exception):
    """What was asked for would not fit; the text says how much it needs."""


class Buffers:
    """An input and an output buffer; `registered` gives the pair that all ranks of a node have mapped."""

    def __init__(self, world: World, nbytes: int, *, registered: bool, output: bool = True) -> None:
        sizes = (nbytes, nbytes if output else 0)
        self._private = tuple(private_bytes(size) for size in sizes)
        self._registered = tuple(registered_bytes(world, size) for size in sizes) if registered else ()

    def take(self, which: int, count: int, dtype: np.dtype[Any], *, registered: bool = False) -> Array:
        """Return the first `count` elements of the input (0) or output (1) buffer."""
        flat = self._registered[which] if registered else self._private[which]
        view: Array = flat[: count * dtype.itemsize].view(dtype)
        return view


def private_bytes(nbytes: int) -> Array:
    """Return page-aligned private memory for which huge pages are advised, as NumPy does from 4 MiB on."""
    memory = mmap.mmap(-1, max(nbytes, mmap.PAGESIZE), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint8)


def registered_bytes(world: World, nbytes: int) -> Array:
    """Return memory that every rank of the node has mapped."""
    return world.comm.empty((max(nbytes, mmap.PAGESIZE),), np.uint8)


def available() -> int:
    """Return the bytes that this machine, or the cgroup that confines us, can still give."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(fields["MemAvailable"].split()[0]) * 1024
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except OSError:
        return free
    return free if limit == "max" else min(free, max(int(limit) - used, 0))


def needed(nbytes: int, *, registered: bool, output: bool = True) -> int:
    """Return the bytes one rank needs for cases of `nbytes`: its buffers and the temporary that MPI makes per call."""
    pairs = 2 if output else 1
    return nbytes * (pairs * (2 if registered else 1) + 1) + MARGIN


def require(world: World, per_rank: int, probe: Callable[[], int] = available) -> None:
    """Raise OutOfMemoryError on every rank if some node cannot hold `per_rank` bytes for each of its ranks."""
    nodes = list(world.comm.nodes)
    free = world.mpi.allgather(probe())
    for node in dict.fromkeys(nodes):
        ranks = [rank for rank, other in enumerate(nodes) if other == node]
        total, limit = per_rank * len(ranks), min(free[rank] for rank in ranks) * HEADROOM
        if total > limit:
            raise OutOfMemoryError(
                f"needs {format_size(total)} on node {node} ({len(ranks)} ranks × {format_size(per_rank)}), "
                f"of which {format_size(limit)} can be had: lower --max or start fewer ranks"
            )
