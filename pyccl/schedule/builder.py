"""The pencil with which an algorithm writes one rank's steps."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache
from typing import SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyccl.collectives import collective as row_of
from pyccl.schedule.table import Kind, Schedule

Chunks: TypeAlias = SupportsIndex | Iterable[SupportsIndex]
Ranks: TypeAlias = SupportsIndex | Iterable[SupportsIndex]

MAX_CHUNKS = 1 << 22  # kMaxChunks in csrc/core/schedule.h


def _indices(what: SupportsIndex | Iterable[SupportsIndex]) -> list[int]:
    if type(what) is range:
        return list(what)
    if isinstance(what, Iterable):
        return [operator.index(i) for i in what]
    return [operator.index(what)]


@lru_cache(maxsize=16)
def _groups(nodes: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return the ranks of each node; every rank of a schedule asks for the same."""
    groups: dict[int, list[int]] = {}
    for rank, node in enumerate(nodes):
        groups.setdefault(node, []).append(rank)
    return tuple(map(tuple, groups.values()))


class Builder:
    """Records the steps of one rank.

    Steps run in program order as far as their chunks make them depend on each other; messages between two ranks are
    matched first in, first out. Where a chunk or a peer is asked for, a sequence or set may be given: several
    chunks are several steps, several peers are one step. No peers, no step.

    Parameters
    ----------
    rank, size : int
    root : int, default 0
        Only rooted collectives look at it.
    nodes : sequence of int, shape (size,), optional
        Node of each rank; default: all on one.
    links : sequence of float, optional
        Rate of each node's link to the others, in the order of `groups`, in any unit; default: all equal.

    Raises
    ------
    ValueError
        If rank or root is not in ``[0, size)``, `nodes` has another length than `size`, or `links` does not name a
        rate above 0 per node.
    """

    def __init__(
        self, rank: int, size: int, root: int = 0, nodes: Sequence[int] | None = None,
        links: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        if not 0 <= rank < size:
            raise ValueError(f"rank must be in [0, {size}), got {rank}")
        if not 0 <= root < size:
            raise ValueError(f"root must be in [0, {size}), got {root}")
        if nodes is not None and len(nodes) != size:
            raise ValueError(f"nodes must name one node per rank, got {len(nodes)} for {size} ranks")
        self.rank = rank
        self.size = size
        self.root = root
        self.nodes = (0,) * size if nodes is None else tuple(nodes)
        self.links = (1.0,) * len(self.groups) if links is None else tuple(links)
        if len(self.links) != len(self.groups) or not all(rate > 0 for rate in self.links):
            raise ValueError(f"links must name a rate above 0 for each of {len(self.groups)} nodes, got {self.links}")
        self.nchunks: int | None = None
        self.stream: list[int] = []

    @property
    def others(self) -> list[int]:
        """All ranks but mine, beginning to my right: if all send in this order, no two send to one rank at a time."""
        return [(self.rank + k) % self.size for k in range(1, self.size)]

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The ranks of each node, ascending; nodes in the order of their lowest rank."""
        return _groups(self.nodes)

    @cached_property
    def node(self) -> int:
        """Index of my node in `groups`."""
        return next(i for i, ranks in enumerate(self.groups) if self.rank in ranks)

    @property
    def local_ranks(self) -> tuple[int, ...]:
        """The ranks of my node, ascending, myself included."""
        return self.groups[self.node]

    def chunks(self, n: int) -> None:
        """Split the vector in `n` chunks (default: as many as ranks).

        For all_reduce, reduce and broadcast only, the same on every rank; elsewhere the chunks are fixed.
        """
        if not 1 <= n <= MAX_CHUNKS:
            raise ValueError(f"chunks must be between 1 and {MAX_CHUNKS}, got {n}")
        self.nchunks = n

    def send(self, chunk: Chunks, dest: Ranks) -> None:
        """Send `chunk` as it is now to every rank of `dest`."""
        if type(chunk) is int and type(dest) is int:
            self.stream += (0, chunk, -1, 1, dest)
        else:
            self._record(Kind.SEND, chunk, sorted(set(_indices(dest))))

    def recv(self, chunk: Chunks, source: SupportsIndex) -> None:
        """Receive `chunk` from `source`, overwriting what stood there."""
        if type(chunk) is int and type(source) is int:
            self.stream += (1, chunk, -1, 1, source)
        else:
            self._record(Kind.RECV, chunk, [operator.index(source)])

    def recv_reduce(self, chunk: Chunks, source: Ranks) -> None:
        """Combine `chunk` with the chunks of the ranks in `source`, in one pass, operands in the order of their rank.

        So with one source the lower rank's side is the left operand.
        """
        if type(chunk) is int and type(source) is int:
            self.stream += (2, chunk, -1, 1, source)
        else:
            self._record(Kind.RECV_REDUCE, chunk, sorted(set(_indices(source))))

    def copy(self, chunk: SupportsIndex, source_chunk: SupportsIndex) -> None:
        """Overwrite `chunk` with my `source_chunk`, which must have as many elements."""
        self.stream += (3, operator.index(chunk), operator.index(source_chunk), 0)

    def reduce(self, chunk: SupportsIndex, source_chunk: SupportsIndex) -> None:
        """Set `chunk` to `chunk` op my `source_chunk`, which must have as many elements."""
        self.stream += (4, operator.index(chunk), operator.index(source_chunk), 0)

    def _record(self, kind: Kind, chunk: Chunks, peers: list[int]) -> None:
        if peers:
            chunks = _indices(chunk)
            steps = [int(kind), 0, -1, len(peers), *peers] * len(chunks)
            steps[1 :: 4 + len(peers)] = chunks
            self.stream += steps


Algorithm: TypeAlias = Callable[[Builder], None]


def record(
    function: Algorithm,
    collective: str,
    size: int,
    root: int = 0,
    nodes: Sequence[int] | None = None,
    *,
    name: str | None = None,
    order: str = "schedule",
    commutative_only: bool = True,
    links: Sequence[float] | None = None,
) -> Schedule:
    """Run `function` for every rank and return the schedule that it wrote, unverified.

    Parameters
    ----------
    function : callable (Builder) -> None
    collective : str
    size, root : int
    nodes : sequence of int, shape (size,), optional
    links : sequence of float, optional
        See `Builder`.
    name : str, optional
        Name of the algorithm; default: that of the function.
    order, commutative_only
        What the algorithm promises, see `Schedule`.

    Raises
    ------
    ValueError
        If an argument is out of range, or the ranks disagree on the number of chunks.
    """
    row = row_of(collective)
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    builders = [Builder(rank, size, root, nodes, links) for rank in range(size)]
    for b in builders:
        function(b)
    chosen = {b.nchunks or size for b in builders} if row.fixed_chunks is None else {row.fixed_chunks(size)}
    asked = {b.nchunks for b in builders if b.nchunks is not None}
    if len(chosen | asked) > 1:
        raise ValueError(f"{collective}: every rank must use the same number of chunks, got {sorted(chosen | asked)}")
    tables = tuple(map(_table, builders))
    label = name if name is not None else getattr(function, "__name__", "custom")
    return Schedule(collective, label, size, root, builders[0].nodes, chosen.pop(), order, commutative_only, tables)


def record_first(function: Algorithm, collective: str, size: int) -> tuple[NDArray[np.int32], int]:
    """Return the table of rank 0, and the number of chunks: all there is to know of a symmetric algorithm."""
    row = row_of(collective)
    b = Builder(0, size)
    function(b)
    return _table(b), row.fixed_chunks(size) if row.fixed_chunks is not None else b.nchunks or size


def _table(b: Builder) -> NDArray[np.int32]:
    table = np.array(b.stream, dtype=np.int32)
    table.flags.writeable = False
    return table
