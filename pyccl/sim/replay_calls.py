"""The collectives of a trace: which algorithm does each, for which members, and whom they send to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pyccl import _core
from pyccl.algorithms import algorithms, get_algorithm
from pyccl.collectives import collective as row_of
from pyccl.errors import ConfigError
from pyccl.sim.case import Floats, Ints, even_split, tables
from pyccl.sim.trace import COLLECTIVE_NAMES, Array, Kind, Trace
from pyccl.tuning import Tuning

MOST_PAIRS = 1 << 24
MOST_RECORDED = 1 << 16  # ranks whose steps are written down one by one

Kinds = tuple[str, int, int]
"""Collective, bytes of the large side, place of the root among the members."""
Shape = tuple[int, ...]
"""Of a gathering: the host of each member, hosts numbered as they appear."""


@dataclass
class Calls:
    """The collectives of a trace, as the engine takes them.

    A gathering is one set of members of a group: the engine numbers them by group, then as csrc/sim/graph.h says.
    """

    trace: Trace
    hosts: Ints  # of each rank
    algorithm: Mapping[str, str] | str | None
    gamma: float
    columns: list[Array] = field(default_factory=list)  # by told rank: the kind of each node, -1 of no collective
    kinds: dict[Kinds, int] = field(default_factory=dict)
    calls: list[tuple[_core.SimPlay | None, Floats, float]] = field(default_factory=list)
    classes: Array = field(default_factory=lambda: np.zeros(0, np.int32))  # by gathering
    table: Array = field(default_factory=lambda: np.zeros((0, 0), np.int32))  # index in calls by kind and class
    _plays: dict[tuple[str, str, int, int, Shape], tuple[_core.SimPlay, int]] = field(default_factory=dict)
    _members: dict[int, tuple[int, Ints]] = field(default_factory=dict)  # by gathering: its group, and who they are

    def __post_init__(self) -> None:
        self._tuning = Tuning.load()
        used: set[tuple[int, int]] = set()  # kind and group
        for rank in range(len(self.trace.columns)):
            self.columns.append(self._kinds_of(rank, used))
        self._gather({group for _, group in used})
        self._choose(used)

    # --- kinds

    def _kinds_of(self, rank: int, used: set[tuple[int, int]]) -> Array:
        columns = self.trace.columns[rank]
        nodes = np.flatnonzero(columns.kind == Kind.COLL)
        if not nodes.size:
            return np.broadcast_to(np.int32(-1), len(columns))
        names = ("collective", "nbytes", "peer", "group")
        rows = np.stack([getattr(columns, name)[nodes].astype(np.int64) for name in names], axis=1)
        different, which = np.unique(rows, axis=0, return_inverse=True)
        numbers = np.empty(len(different), np.int32)
        for i, (code, nbytes, peer, group) in enumerate(different.tolist()):
            node = columns.id(int(nodes[np.argmax(which.reshape(-1) == i)]))
            kind = self._kind(rank, node, code, nbytes, peer, group)
            numbers[i] = self.kinds.setdefault(kind, len(self.kinds))
            used.add((int(numbers[i]), group))
        out = np.full(len(columns), -1, np.int32)
        out[nodes] = numbers[which.reshape(-1)]
        return out

    def _kind(self, rank: int, node: int, code: int, nbytes: int, peer: int, group: int) -> Kinds:
        where = f"{self.trace.source}: rank {rank} node {node}"
        if not 0 <= code < len(COLLECTIVE_NAMES):
            raise ConfigError(f"{where} is of collective {code}; there are {len(COLLECTIVE_NAMES)}")
        if not 0 <= group < len(self.trace.groups):
            raise ConfigError(f"{where} names group {group} of {len(self.trace.groups)}")
        row = row_of(COLLECTIVE_NAMES[code])
        if row.name == "barrier":
            return row.name, 0, 0
        if not row.rooted or peer < 0:
            return row.name, nbytes, 0
        members = self.trace.members(rank, group)
        if peer not in members:
            raise ConfigError(f"{where} names rank {peer} as root, which is not of its group: {list(members)[:16]}")
        return row.name, nbytes, members.index(peer)

    # --- gatherings

    def _gather(self, groups: set[int]) -> None:
        trace, shapes = self.trace, dict[Shape, int]()
        classes, base = [np.zeros(0, np.int32)], 0
        for number, group in enumerate(trace.groups):
            count = trace.size // len(trace.columns) if group.ranks else trace.size if group.size else 1
            mine = np.zeros(count, np.int32)
            for at, members in self._gatherings(number, count) if number in groups else ():
                if members[-1] >= trace.size or members[0] < 0:
                    raise ConfigError(f"{trace.source}: group {number} names rank {members[-1]} of {trace.size}")
                _, first, which = np.unique(self.hosts[members], return_index=True, return_inverse=True)
                shape = tuple(np.argsort(np.argsort(first))[which.reshape(-1)].tolist())
                mine[at] = shapes.setdefault(shape, len(shapes))
                self._members[base + at] = number, members
            classes.append(mine)
            base += count
        self.classes, self.shapes = np.concatenate(classes), list(shapes)

    def _gatherings(self, number: int, count: int) -> Iterator[tuple[int, Ints]]:
        """Yield the place of each gathering of a group, and its members."""
        group, told = self.trace.groups[number], len(self.trace.columns)
        if group.ranks:
            ranks = np.array(sorted(group.ranks), np.int64)
            yield from ((copy, ranks + copy * told) for copy in range(count))
        elif not group.size:
            yield 0, np.arange(self.trace.size)
        else:
            block = group.size * group.stride
            if block > self.trace.size:
                raise ConfigError(
                    f"{self.trace.source}: group {number} spans {block} ranks, and there are {self.trace.size}"
                )
            for first in range(0, self.trace.size - block + 1, block):
                for rank in range(first, first + group.stride):
                    yield rank, np.arange(rank, rank + block, group.stride)

    # --- who does what

    def _choose(self, used: set[tuple[int, int]]) -> None:
        kinds = list(self.kinds)
        self.table = np.full((len(kinds), max(1, len(self.shapes))), -1, np.int32)
        classes: dict[int, set[int]] = {}
        for gathering, (group, _) in self._members.items():
            classes.setdefault(group, set()).add(int(self.classes[gathering]))
        for kind, group in sorted(used):
            for shape in sorted(classes.get(group, ())):
                if self.table[kind, shape] < 0:
                    self.table[kind, shape] = len(self.calls)
                    self.calls.append(self._call(*kinds[kind], self.shapes[shape]))

    def _call(
        self, collective: str, nbytes: int, root: int, shape: Shape
    ) -> tuple[_core.SimPlay | None, Floats, float]:
        size = len(shape)
        if size == 1:
            return None, np.zeros(1), 0.0
        name = self._named(collective, size) or self._chosen(collective, nbytes, shape)
        entry = get_algorithm(collective, name)
        key = (collective, name, size, root, () if entry.symmetric else shape)
        if key not in self._plays:
            if size > MOST_RECORDED and not entry.symmetric:
                raise ConfigError(
                    f"{self.trace.source}: {collective} {name} among {size} ranks; a replay takes it up to "
                    f"{MOST_RECORDED}, and beyond where all ranks do the same: give an algorithm, for example 'ring'"
                )
            steps, nchunks = tables(collective, name, size, root, shape)
            self._plays[key] = _core.SimPlay(steps, size, nchunks, entry.symmetric), nchunks
        play, nchunks = self._plays[key]
        return play, even_split(collective, nbytes, size, nchunks), self.gamma

    def _named(self, collective: str, size: int) -> str | None:
        if isinstance(self.algorithm, Mapping):
            name = self.algorithm.get(collective)
            if name is not None and name not in (fits := algorithms(collective, size)):
                raise ConfigError(f"{collective} of {size} ranks can be {', '.join(fits)}, not {name!r}")
            return name
        return self.algorithm if self.algorithm in algorithms(collective, size) else None

    def _chosen(self, collective: str, nbytes: int, shape: Shape) -> str:
        """Return what the runtime chooses."""
        rows = self._tuning.private(len(shape), several_nodes=max(shape) > 0)[collective]
        return next(name for limit, name in rows if nbytes <= limit)

    def pairs(self) -> Iterator[Ints]:
        """Yield source times size plus destination of all messages of collectives.

        Raises
        ------
        ConfigError
            If there are more than `MOST_PAIRS`.
        """
        size, total = self.trace.size, 0
        done: set[tuple[int, int]] = set()
        for gathering, (_, members) in self._members.items():
            for index in set(self.table[:, self.classes[gathering]].tolist()) - {-1}:
                play = self.calls[index][0]
                if play is None or (gathering, id(play)) in done:
                    continue
                done.add((gathering, id(play)))
                total += len(play.sources) * (len(members) if play.rotates else 1)
                if total > MOST_PAIRS:
                    raise ConfigError(
                        f"{self.trace.source}: its collectives send between more than {MOST_PAIRS} pairs of ranks; "
                        "replicate to fewer, or give an algorithm with fewer partners, for example 'ring'"
                    )
                source, destination = _of(play, len(members))
                yield members[source] * size + members[destination]


def _of(play: _core.SimPlay, size: int) -> tuple[Ints, Ints]:
    """Return sources and destinations of a play's messages, by place."""
    source, destination = play.sources.astype(np.int64), play.destinations.astype(np.int64)
    if not play.rotates:
        return source, destination
    ranks = np.arange(size, dtype=np.int64)
    return np.repeat(ranks, len(source)), ((ranks[:, None] + destination) % size).reshape(-1)


def message_pairs(trace: Trace) -> Iterator[Ints]:
    """Yield source times size plus destination of all messages of the trace's own nodes."""
    told = len(trace.columns)
    copies = np.arange(0, trace.size, told, dtype=np.int64)
    for rank, columns in enumerate(trace.columns):
        peers = np.unique(columns.peer[columns.kind == Kind.SEND]).astype(np.int64)
        wrong = peers[(peers < 0) | (peers >= told)]
        if wrong.size:
            raise ConfigError(f"{trace.source}: rank {rank} sends to rank {wrong[0]}; it tells of {told} ranks")
        yield ((rank + copies)[:, None] * trace.size + (peers + copies[:, None])).reshape(-1)


def merged(parts: Sequence[Ints]) -> Ints:
    """Return all pairs, each once, ascending."""
    return np.unique(np.concatenate([np.zeros(0, np.int64), *parts]))
