"""A trace: what every rank computes, sends, receives and meets for, and what each of these waits for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyccl.collectives import COLLECTIVES
from pyccl.errors import ConfigError

__all__ = ["ANY", "COLLECTIVE_NAMES", "MAX_RANKS", "Columns", "Group", "Kind", "Names", "Node", "Trace"]

Array: TypeAlias = NDArray[Any]

ANY = -1
"""As the peer or tag of a recv: whichever comes. As any other peer: none."""
MAX_RANKS = 1 << 24
COLLECTIVE_NAMES = tuple(COLLECTIVES)
"""A collective's code is its place here."""


class Kind(IntEnum):
    """What a node does; the values stand in the columns."""

    COMP = 0
    SEND = 1
    RECV = 2
    COLL = 3
    MEM = 4


class Node(NamedTuple):
    """One node, for reading; see `Columns`. `after` and `begun` are indices of nodes of the same rank."""

    kind: Kind
    nbytes: int
    peer: int
    tag: int
    duration: float
    collective: str | None
    group: int
    lane: int
    id: int
    name: str
    after: tuple[int, ...]
    begun: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Names:
    """Strings end to end: the i-th is ``blob[ends[i - 1]:ends[i]]``, UTF-8."""

    blob: bytes
    ends: Array

    def __getitem__(self, index: int) -> str:
        start = int(self.ends[index - 1]) if index else 0
        return self.blob[start : int(self.ends[index])].decode("utf-8", "replace")


@dataclass(frozen=True, eq=False)
class Columns:
    """The nodes of one rank. A column of one value everywhere takes no memory (its stride is 0).

    Attributes
    ----------
    kind : uint8 array, shape (n,)
    nbytes : int64 array, shape (n,)
        Bytes of a message, of a collective's large side (see `pyccl.collectives`), of memory moved.
    peer : int32 array, shape (n,)
        Destination of a send, source of a recv (or `ANY`), root of a rooted collective; `ANY` where there is none.
    tag : int32 array, shape (n,)
    duration : float64 array, shape (n,)
        Seconds: what a comp or mem node takes; what a collective took where the trace was measured, else 0.
    collective : int8 array, shape (n,)
        Index in `COLLECTIVE_NAMES`; -1 where the node is no collective.
    group : int32 array, shape (n,)
        Index in `Trace.groups`; -1 where the node is no collective.
    lane : int32 array, shape (n,)
        Processor, stream or thread of the rank; nodes of one lane do not overlap.
    starts : int64 array, shape (n + 1,)
    deps : int32 array, shape (m,)
        Node i waits for ``deps[starts[i]:starts[i + 1]]``.
    begun : bool array, shape (m,)
        True where the other node need only have begun (``irequires`` in GOAL).
    ids : uint64 array, shape (n,), or None
        Identifiers in the file; None: the indices.
    names : Names or None
    """

    kind: Array
    nbytes: Array
    peer: Array
    tag: Array
    duration: Array
    collective: Array
    group: Array
    lane: Array
    starts: Array
    deps: Array
    begun: Array
    ids: Array | None = None
    names: Names | None = None

    def __len__(self) -> int:
        return len(self.kind)

    def after(self, index: int) -> Array:
        """Return the nodes that node `index` waits for."""
        return self.deps[int(self.starts[index]) : int(self.starts[index + 1])]

    def id(self, index: int) -> int:
        """Return the identifier of node `index` in its file."""
        return index if self.ids is None else int(self.ids[index])

    @property
    def memory(self) -> int:
        """Bytes that the columns take."""
        arrays = [value for value in vars(self).values() if isinstance(value, np.ndarray)]
        names = 0 if self.names is None else len(self.names.blob) + self.names.ends.nbytes
        return sum(a.nbytes if any(a.strides) else a.itemsize for a in arrays) + names


@dataclass(frozen=True)
class Group:
    """Ranks that a collective joins.

    Attributes
    ----------
    size : int
        Number of members; 0: all ranks of the trace.
    stride : int
        Members are `stride` ranks apart, in blocks of ``size * stride`` ranks: there is one such group in each
        block for each of the first `stride` ranks. So (t, 1) are neighbours, (d, t) every t-th rank.
    ranks : tuple of int
        If not empty: these ranks, and no others.
    name : str
    """

    size: int = 0
    stride: int = 1
    ranks: tuple[int, ...] = ()
    name: str = ""


WORLD = Group(name="world")


@dataclass(frozen=True, eq=False)
class Trace:
    """What all ranks do.

    Attributes
    ----------
    columns : tuple of Columns
        Those of the first ranks. With more ranks than columns, rank r runs columns ``r % len(columns)`` with its peers
        in its own block of ranks, and no memory is taken for it.
    size : int
        Number of ranks.
    groups : tuple of Group
        The first is all ranks.
    source : str
        What errors call the trace.
    skipped : mapping of str to int
        What the reader left out, and how often.

    Raises
    ------
    ConfigError
        If `size` is no multiple of the number of columns, or above `MAX_RANKS`.
    """

    columns: tuple[Columns, ...]
    size: int
    groups: tuple[Group, ...] = (WORLD,)
    source: str = "trace"
    skipped: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        told = len(self.columns)
        if not told or not told <= self.size <= MAX_RANKS or self.size % told:
            raise ConfigError(
                f"{self.source}: tells of {told} ranks, so ranks must be a multiple of {max(told, 1)} up to "
                f"{MAX_RANKS}, got {self.size}"
            )

    def __len__(self) -> int:
        """Return the number of nodes of all ranks together."""
        return sum(map(len, self.columns)) * (self.size // len(self.columns))

    def __repr__(self) -> str:
        return f"<Trace {self.source}, {self.size} ranks, {len(self)} nodes>"

    def shift(self, rank: int) -> int:
        """Return what is added to the peers in the columns of `rank`."""
        return rank - rank % len(self.columns)

    def of(self, rank: int) -> Columns:
        """Return the columns of `rank`; add `shift` to their peers."""
        if not 0 <= rank < self.size:
            raise ValueError(f"rank must be in [0, {self.size}), got {rank}")
        return self.columns[rank % len(self.columns)]

    def members(self, rank: int, group: int) -> Sequence[int]:
        """Return the ranks that `rank` meets in ``groups[group]``, ascending."""
        chosen = self.groups[group]
        if chosen.ranks:
            shift = self.shift(rank)
            return tuple(r + shift for r in chosen.ranks)
        if not chosen.size:
            return range(self.size)
        block = chosen.size * chosen.stride
        first = rank // block * block + rank % chosen.stride
        return range(first, first + block, chosen.stride)

    def nodes(self, rank: int) -> Iterator[Node]:
        """Yield the nodes of `rank` as objects, for looking at."""
        c, shift = self.of(rank), self.shift(rank)
        for i in range(len(c)):
            peer, code = int(c.peer[i]), int(c.collective[i])
            span = slice(int(c.starts[i]), int(c.starts[i + 1]))
            deps = list(zip(c.deps[span].tolist(), c.begun[span].tolist(), strict=True))
            yield Node(
                Kind(int(c.kind[i])), int(c.nbytes[i]), peer + shift if peer >= 0 else ANY, int(c.tag[i]),
                float(c.duration[i]), COLLECTIVE_NAMES[code] if code >= 0 else None, int(c.group[i]), int(c.lane[i]),
                c.id(i), c.names[i] if c.names else "", tuple(d for d, begun in deps if not begun),
                tuple(d for d, begun in deps if begun),
            )  # fmt: skip

    def replicate(self, ranks: int) -> Trace:
        """Return the same work on more ranks, taking no more memory.

        Ranks beyond those told run copies: rank r does what rank ``r % size`` does. Messages, and collectives of
        groups that are listed or strided, stay within each copy; those of all ranks join all copies. That is data
        parallelism over copies of the job.

        Raises
        ------
        ConfigError
            If `ranks` is no multiple of the ranks that the trace tells of.
        """
        return replace(self, size=ranks)

    def topological_check(self) -> None:
        """Find out whether the trace can run to its end; sends do not wait for their recvs.

        Raises
        ------
        ConfigError
            If nodes wait for each other in a circle (each is named with rank and id), a message has no other end, or
            the members of a group do not meet in the same collectives.
        """
        from pyccl.sim.trace_check import check

        check(self)
