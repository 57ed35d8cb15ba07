"""One row per collective: what its chunks mean, who holds them, and how its bandwidth is counted.

Everything that asks "what does this collective promise" (builder, verifier, interpreter, cost model, benchmark)
reads this table, so that the answer exists once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

Holding: TypeAlias = Callable[[int, int, int, int], Sequence[int]]


def chunk_range(count: int, nchunks: int, chunk: int) -> tuple[int, int]:
    """Return where chunk `chunk` begins and ends when `count` elements are split in `nchunks`.

    Sizes differ by at most one and the first ``count % nchunks`` chunks are the larger ones. This is the only
    splitter on the Python side; ``chunk_range`` in C++ does the same.

    Parameters
    ----------
    count : int
        Elements (or bytes) to split.
    nchunks : int
        Number of chunks, at least 1.
    chunk : int
        Index in ``[0, nchunks)``.

    Returns
    -------
    (int, int)
        First element and one past the last.

    Examples
    --------
    >>> [chunk_range(7, 3, c) for c in range(3)]
    [(0, 3), (3, 5), (5, 7)]
    """
    share, rest = divmod(count, nchunks)
    start = chunk * share + min(chunk, rest)
    return start, start + share + (chunk < rest)


def split(count: int, nchunks: int) -> tuple[int, ...]:
    """Return the sizes of all chunks of `chunk_range`.

    Examples
    --------
    >>> split(7, 3)
    (3, 2, 2)
    """
    share, rest = divmod(count, nchunks)
    return (share + 1,) * rest + (share,) * (nchunks - rest)


@dataclass(frozen=True)
class Collective:
    """What one collective means; see the table in ``docs/design.md``.

    Attributes
    ----------
    name : str
    code : int
        Value of ``enum class Collective`` in ``csrc/core/types.h``.
    rooted : bool
        Whether one rank, the root, has a part of its own.
    reduces : bool
        Whether contributions of several ranks are combined.
    fixed_chunks : callable (size) -> int, or None
        Number of chunks; None where the algorithm chooses it.
    busbw_factor : callable (size) -> float
        ``busbw = algbw * busbw_factor(size)``, with ``algbw = bytes of the large side / time``.
    initial, final : callable (rank, size, root, nchunks) -> sequence of int
        Chunks that a rank holds at the start, and those that it must hold at the end. A rank's input is the
        concatenation of the first, its output the concatenation of the second.
    """

    name: str
    code: int
    rooted: bool
    reduces: bool
    fixed_chunks: Callable[[int], int] | None
    busbw_factor: Callable[[int], float]
    initial: Holding
    final: Holding

    def chunk_counts(self, count: int, size: int, nchunks: int) -> tuple[int, ...]:
        """Return the elements of every chunk when the large side has `count` elements, evenly split.

        The large side is the longer of a rank's input and output: the whole vector for all_reduce, reduce and
        broadcast, the input of reduce_scatter, scatter and all_to_all, the output of all_gather and gather.
        """
        if self.name == "barrier":
            return (0,) * nchunks
        if self.name == "all_to_all":
            return split(count, size) * size
        return split(count, nchunks)


def _all(rank: int, size: int, root: int, nchunks: int) -> range:
    return range(nchunks)


def _own(rank: int, size: int, root: int, nchunks: int) -> range:
    return range(rank, rank + 1)


def _all_at_root(rank: int, size: int, root: int, nchunks: int) -> range:
    return range(nchunks if rank == root else 0)


def _from_me(rank: int, size: int, root: int, nchunks: int) -> range:
    return range(rank * size, rank * size + size)


def _to_me(rank: int, size: int, root: int, nchunks: int) -> range:
    return range(rank, size * size, size)


def _one(size: int) -> int:
    return 1


def _per_rank(size: int) -> int:
    return size


def _per_pair(size: int) -> int:
    return size * size


def _whole(size: int) -> float:
    return 1.0


def _others(size: int) -> float:
    return (size - 1) / size


def _twice_others(size: int) -> float:
    return 2 * (size - 1) / size


def _nothing(size: int) -> float:
    return 0.0


_ROWS = (
    Collective("all_reduce", 0, False, True, None, _twice_others, _all, _all),
    Collective("reduce_scatter", 1, False, True, _per_rank, _others, _all, _own),
    Collective("all_gather", 2, False, False, _per_rank, _others, _own, _all),
    Collective("broadcast", 3, True, False, None, _whole, _all_at_root, _all),
    Collective("reduce", 4, True, True, None, _whole, _all, _all_at_root),
    Collective("gather", 5, True, False, _per_rank, _others, _own, _all_at_root),
    Collective("scatter", 6, True, False, _per_rank, _others, _all_at_root, _own),
    Collective("all_to_all", 7, False, False, _per_pair, _others, _from_me, _to_me),
    Collective("barrier", 8, False, True, _one, _nothing, _all, _all),
)

COLLECTIVES = MappingProxyType({row.name: row for row in _ROWS})
"""All collectives by name, in the order of their codes."""


def collective(name: str) -> Collective:
    """Return the row of `name`.

    Raises
    ------
    ValueError
        If there is no such collective.
    """
    if name not in COLLECTIVES:
        raise ValueError(f"collective must be one of {', '.join(COLLECTIVES)}, got {name!r}")
    return COLLECTIVES[name]
