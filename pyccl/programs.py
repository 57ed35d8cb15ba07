"""The schedules that the core asks for when it meets an algorithm for the first time."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from pyccl import algorithms
from pyccl.arrays import NumpyArray
from pyccl.collectives import COLLECTIVES
from pyccl.schedule import verify

__all__ = ["build_program"]

_NAMES = tuple(COLLECTIVES)


def build_program(
    size: int, nodes: Sequence[int], links: Sequence[float], code: int, name: str, root: int
) -> tuple[int, Sequence[NumpyArray], int]:
    """Return number of chunks, table of every rank, and a digest of them.

    The digest is part of what ranks compare before anything moves: a user's algorithm, which each has registered by
    itself, may be another one on each under the same name. It is 0 for pyccl's own.
    """
    collective = _NAMES[code]
    schedule = algorithms.build(collective, name, size, root=max(root, 0), nodes=nodes, links=links)
    digest = 0
    if not algorithms.get_algorithm(collective, name).function.__module__.startswith("pyccl.algorithms"):
        verify(schedule)
        for table in schedule.tables:
            digest = zlib.crc32(np.asarray(table, "<i4").tobytes(), digest)
        digest = digest or 1
    return schedule.nchunks, schedule.tables, digest
