"""Whether a trace can run to its end: dependencies, messages and meetings of all ranks as one graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyccl.errors import ConfigError
from pyccl.sim.trace import ANY, COLLECTIVE_NAMES, Array, Kind, Trace

__all__ = ["check"]

NARROW = 32
"""With fewer nodes ready at a time than this, one by one is faster than by arrays."""


@dataclass
class _Graph:
    """Events of all told ranks end to end: of node i, its begin and its end (one event, if nobody asks for begins)."""

    trace: Trace
    offsets: Array  # first node of each rank
    begins: Array
    ends: Array
    step: int  # events per node
    events: int
    sources: list[Array]
    targets: list[Array]

    def rank_of(self, node: int) -> int:
        return int(np.searchsorted(self.offsets, node, "right")) - 1

    def name(self, node: int) -> str:
        rank = self.rank_of(node)
        index = node - int(self.offsets[rank])
        columns = self.trace.columns[rank]
        kind, peer, nbytes = Kind(int(columns.kind[index])), int(columns.peer[index]), int(columns.nbytes[index])
        what = kind.name.lower()
        if kind in (Kind.SEND, Kind.RECV):
            side = "to" if kind == Kind.SEND else "from"
            what = f"{what} {nbytes} bytes {side} {peer} tag {int(columns.tag[index])}"
        elif kind == Kind.COLL:
            what = f"{COLLECTIVE_NAMES[int(columns.collective[index])]} of {nbytes} bytes"
        return f"rank {rank} node {columns.id(index)} ({what})"

    def whole(self, column: str) -> Array:
        return np.concatenate([getattr(c, column) for c in self.trace.columns])


def check(trace: Trace) -> None:
    """See `Trace.topological_check`."""
    graph = _graph(trace)
    _messages(graph)
    _meetings(graph)
    _walk(graph)


def _graph(trace: Trace) -> _Graph:
    offsets = np.concatenate([[0], np.cumsum([len(c) for c in trace.columns])]).astype(np.int64)
    nodes = int(offsets[-1])
    apart = any(c.begun.any() for c in trace.columns)
    step = 2 if apart else 1
    begins = np.arange(nodes, dtype=np.int64) * step
    graph = _Graph(trace, offsets, begins, begins + apart, step, nodes * step, [], [])
    if apart:
        graph.sources.append(begins)
        graph.targets.append(graph.ends)
    return graph


def _dependencies(graph: _Graph) -> None:
    for offset, columns in zip(graph.offsets.tolist(), graph.trace.columns, strict=False):
        waiting = np.repeat(np.arange(len(columns)), np.diff(columns.starts)) + offset
        outside = np.flatnonzero((columns.deps < 0) | (columns.deps >= len(columns)))
        if outside.size:
            node, other = int(waiting[outside[0]]), int(columns.deps[outside[0]])
            raise _error(graph, f"{graph.name(node)} waits for node {other}, which does not exist")
        awaited = columns.deps + offset
        graph.sources.append(np.where(columns.begun, graph.begins[awaited], graph.ends[awaited]))
        graph.targets.append(graph.begins[waiting])


def _messages(graph: _Graph) -> None:
    """Add the k-th send of (source, dest, tag) → the k-th such recv; a rank with wildcards is only counted."""
    kind, peer, tag = graph.whole("kind"), graph.whole("peer"), graph.whole("tag")
    rank = np.repeat(np.arange(len(graph.trace.columns)), np.diff(graph.offsets))
    sends, recvs = np.flatnonzero(kind == Kind.SEND), np.flatnonzero(kind == Kind.RECV)
    outside = np.flatnonzero(((kind == Kind.SEND) | (kind == Kind.RECV)) & (peer >= len(graph.trace.columns)))
    if outside.size:
        raise _error(graph, f"{graph.name(int(outside[0]))}: the trace tells of {len(graph.trace.columns)} ranks only")
    wild = np.zeros(len(graph.trace.columns), np.bool_)
    wild[rank[recvs[(peer[recvs] == ANY) | (tag[recvs] == ANY)]]] = True
    for loose in np.flatnonzero(wild).tolist():
        sent, taken = int(np.sum(peer[sends] == loose)), int(np.sum(rank[recvs] == loose))
        if sent != taken:
            raise _error(graph, f"rank {loose} receives {taken} messages, and {sent} are sent to it")
    sends, recvs = sends[~wild[peer[sends]]], recvs[~wild[rank[recvs]]]
    sends = sends[np.lexsort((tag[sends], peer[sends], rank[sends]))]
    recvs = recvs[np.lexsort((tag[recvs], rank[recvs], peer[recvs]))]
    ours = np.stack([rank[sends], peer[sends], tag[sends]])
    theirs = np.stack([peer[recvs], rank[recvs], tag[recvs]])
    both = min(len(sends), len(recvs))
    differs = np.flatnonzero((ours[:, :both] != theirs[:, :both]).any(axis=0))
    if differs.size or len(sends) != len(recvs):
        at = int(differs[0]) if differs.size else both
        first_send = at < len(sends) and (at >= len(recvs) or tuple(ours[:, at]) < tuple(theirs[:, at]))
        lone = graph.name(int(sends[at] if first_send else recvs[at]))
        raise _error(graph, f"{lone} has no other end: nothing {'receives' if first_send else 'sends'} it")
    nbytes = graph.whole("nbytes")
    uneven = np.flatnonzero(nbytes[sends] != nbytes[recvs])
    if uneven.size:
        pair = graph.name(int(sends[uneven[0]])), graph.name(int(recvs[uneven[0]]))
        raise _error(graph, f"{pair[0]} meets {pair[1]}; write the same bytes on both")
    graph.sources.append(graph.begins[sends])
    graph.targets.append(graph.ends[recvs])


def _meetings(graph: _Graph) -> None:
    """Add one event per collective of a group, which all its members' begins lead to and all their ends follow."""
    told = len(graph.trace.columns)
    calls: dict[tuple[int, int], Array] = {}
    for rank, columns in enumerate(graph.trace.columns):
        nodes = np.flatnonzero(columns.kind == Kind.COLL)
        for group in np.unique(columns.group[nodes]).tolist():
            if not 0 <= group < len(graph.trace.groups):
                raise _error(graph, f"rank {rank} names group {group} of {len(graph.trace.groups)}")
            calls[rank, group] = nodes[columns.group[nodes] == group] + graph.offsets[rank]
    code, nbytes = graph.whole("collective"), graph.whole("nbytes")
    done: set[tuple[int, int]] = set()
    for (rank, group), mine in calls.items():
        if (rank, group) in done:
            continue
        members = sorted({member % told for member in graph.trace.members(rank, group)})
        if rank not in members:
            raise _error(graph, f"{graph.name(int(mine[0]))} is of a group that rank {rank} is no member of: {members}")
        meetings = graph.events + np.arange(len(mine))
        graph.events += len(mine)
        for member in members:
            done.add((member, group))
            other = calls.get((member, group), mine[:0])
            both = min(len(mine), len(other))
            differs = np.flatnonzero(
                (code[mine[:both]] != code[other[:both]]) | (nbytes[mine[:both]] != nbytes[other[:both]])
            )
            if differs.size:
                pair = graph.name(int(mine[differs[0]])), graph.name(int(other[differs[0]]))
                raise _error(graph, f"{pair[0]} meets {pair[1]} in group {group}; write the same on both")
            if len(mine) != len(other):
                more, less = (rank, member) if len(mine) > len(other) else (member, rank)
                lone = int((mine if more == rank else other)[both])
                raise _error(graph, f"{graph.name(lone)} waits for rank {less}, which never comes to it")
            graph.sources.append(graph.begins[other])
            graph.targets.append(meetings)
            if graph.step == 2:
                graph.sources.append(meetings)
                graph.targets.append(graph.ends[other])
            else:  # whoever waits for a collective's end waits for the meeting
                graph.ends[other] = meetings


def _walk(graph: _Graph) -> None:
    _dependencies(graph)
    source, target = np.concatenate(graph.sources), np.concatenate(graph.targets)
    graph.sources.clear()
    graph.targets.clear()
    order = np.argsort(source, kind="stable")
    target = target[order].astype(np.int64)
    first = np.zeros(graph.events + 1, np.int64)
    np.cumsum(np.bincount(source, minlength=graph.events), out=first[1:])
    waits = np.bincount(target, minlength=graph.events)
    ready = np.flatnonzero(waits == 0)
    while ready.size:
        ready = _narrow(ready, first, target, waits) if ready.size < NARROW else _wide(ready, first, target, waits)
    if waits.any():
        raise _error(graph, _circle(graph, source[order], target, waits))


def _wide(ready: Array, first: Array, target: Array, waits: Array) -> Array:
    counts = first[ready + 1] - first[ready]
    ends = np.cumsum(counts)
    edges = np.arange(ends[-1]) + np.repeat(first[ready] - (ends - counts), counts)
    reached, times = np.unique(target[edges], return_counts=True)
    waits[reached] -= times
    freed: Array = reached[waits[reached] == 0]
    return freed


def _narrow(ready: Array, first: Array, target: Array, waits: Array) -> Array:
    """Go on one by one until many are ready."""
    todo = ready.tolist()
    firsts, targets, left = first.data, target.data, waits.data
    while todo and len(todo) < 2 * NARROW:
        event = todo.pop()
        for edge in range(firsts[event], firsts[event + 1]):
            reached = targets[edge]
            left[reached] -= 1
            if not left[reached]:
                todo.append(reached)
    return np.array(todo, np.int64)


def _circle(graph: _Graph, source: Array, target: Array, waits: Array) -> str:
    stuck = waits > 0
    inside = np.flatnonzero(stuck[source] & stuck[target])
    awaited = dict(zip(target[inside].tolist(), source[inside].tolist(), strict=True))
    chain: dict[int, None] = {}
    event = next(iter(awaited))
    while event not in chain:
        chain[event] = None
        event = awaited[event]
    circle = list(chain)[list(chain).index(event) :]
    nodes = list(dict.fromkeys(event // graph.step for event in circle if event // graph.step < len(graph.begins)))
    shown = [graph.name(node) for node in nodes[:8]]
    more = f" → … ({len(nodes)} nodes)" if len(nodes) > 8 else ""
    return (
        f"deadlock: each waits for the next: {' → '.join([*shown, shown[0]])}{more}; remove one of these dependencies"
    )


def _error(graph: _Graph, what: str) -> ConfigError:
    return ConfigError(f"{graph.trace.source}: {what}")
