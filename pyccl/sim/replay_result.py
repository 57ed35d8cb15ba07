"""What a replay has brought."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heappop, heappush
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyccl.errors import ConfigError
from pyccl.sim.cluster import Cluster
from pyccl.sim.trace import Kind, Trace

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ReplayResult:
    """The outcome of `replay`.

    Attributes
    ----------
    trace : Trace
    cluster : Cluster or None
        None with LogGP.
    time : float
        Seconds until the last node ended.
    finish : array of float, shape (ranks,)
        Seconds when each rank's last node ended.
    compute : array of float, shape (ranks,)
        Seconds in which a rank computed, or moved memory.
    communication : array of float, shape (ranks,)
        Seconds in which it did neither, and a message or collective of it had begun and not ended: exposed
        communication, with waiting for others.
    messages, events : int
    begin, end : array of float, shape (nodes,), or None
        Seconds of every node, ranks one behind the other; None if they were not kept.
    link_bytes : array of float, shape (links,)
        Bytes that crossed each link.
    """

    trace: Trace
    cluster: Cluster | None
    time: float
    finish: Floats
    compute: Floats
    communication: Floats
    messages: int
    events: int
    begin: Floats | None
    end: Floats | None
    _before: Ints | None = field(repr=False)
    link_bytes: Floats

    def __str__(self) -> str:
        whole = self.time * len(self.finish) or 1.0
        shares = [100 * float(part.sum()) / whole for part in (self.compute, self.communication, self.idle)]
        return (
            f"{self.trace.source} on {self.trace.size} ranks: {_readable(self.time)}, {self.messages} messages; of the "
            f"mean rank {shares[0]:.3g} % compute, {shares[1]:.3g} % exposed communication, {shares[2]:.3g} % idle"
        )

    @property
    def idle(self) -> Floats:
        """Seconds in which each rank did nothing, up to `time`; shape (ranks,)."""
        return np.maximum(self.time - self.compute - self.communication, 0.0)

    @property
    def link_utilisation(self) -> Floats:
        """Share of each link's capacity that was used, shape (links,)."""
        if self.cluster is None:
            return np.zeros(0)
        capacity = self.cluster.bandwidth * self.time
        return np.divide(self.link_bytes, capacity, out=np.zeros_like(capacity), where=capacity > 0)

    @cached_property
    def _offsets(self) -> Ints:
        lengths = [len(columns) for columns in self.trace.columns]
        return np.concatenate([[0], np.cumsum(np.tile(lengths, self.trace.size // len(lengths)))]).astype(np.int64)

    def nodes(self, rank: int) -> tuple[Floats, Floats]:
        """Return begin and end of the nodes of `rank`, in seconds.

        Raises
        ------
        ConfigError
            If they were not kept.
        """
        begin, end, _ = self._spans()
        span = slice(int(self._offsets[rank]), int(self._offsets[rank + 1]))
        return begin[span], end[span]

    def _spans(self) -> tuple[Floats, Floats, Ints]:
        if self.begin is None or self.end is None or self._before is None:
            raise ConfigError(f"begin and end of {len(self.trace)} nodes were not kept; write replay(…, spans=True)")
        return self.begin, self.end, self._before

    @cached_property
    def critical_path(self) -> dict[str, float]:
        """Seconds by kind of node along the chain that ended last, back to the start; they sum to `time`.

        Each node on it began no sooner because of the one before: by a dependency, a lane, a message or the last member
        to come to a collective. "wait" is what no node accounts for.
        """
        begin, end, before = self._spans()
        names = {Kind.COMP: "compute", Kind.MEM: "memory", Kind.COLL: "collective"}
        path = dict.fromkeys(("compute", "memory", "message", "collective", "wait"), 0.0)
        if not len(end):
            return path
        at = int(end.argmax())
        time = float(end[at])
        while at >= 0:
            rank, node = self._place(at)
            part = names.get(Kind(int(self.trace.of(rank).kind[node])), "message")
            cause = int(before[at])
            if cause >= 0 and self._place(cause)[0] != rank:  # the other side of a message or meeting was later
                at, cause = cause, int(before[cause])
            path[part] += time - float(begin[at])
            time, at = float(begin[at]), cause
            if at >= 0 and end[at] < time:
                path["wait"] += time - float(end[at])
                time = float(end[at])
        path["wait"] += time
        return path

    def _place(self, number: int) -> tuple[int, int]:
        rank = int(np.searchsorted(self._offsets, number, "right")) - 1
        return rank, number - int(self._offsets[rank])

    def to_perfetto(self, path: str | Path, ranks: int = 64) -> None:
        """Write begin and end of the nodes of the first `ranks` in the JSON that ui.perfetto.dev shows.

        Ranks are processes, lanes threads; messages, collectives and memory have threads of their own. Times are
        microseconds.

        Raises
        ------
        ConfigError
            If they were not kept.
        """
        self._spans()
        with Path(path).open("w", encoding="utf-8") as file:
            file.write('{"displayTimeUnit": "ms", "traceEvents": [\n')
            shown = range(min(ranks, self.trace.size))
            file.write(",\n".join(json.dumps(event) for rank in shown for event in self._events(rank)))
            file.write("\n]}\n")

    def _events(self, rank: int) -> Iterator[dict[str, Any]]:
        """Yield the events of one rank; what overlaps lies on threads of its own."""
        begin, end = (times.tolist() for times in self.nodes(rank))
        nodes = list(self.trace.nodes(rank))
        threads: dict[str, list[tuple[float, int]]] = {}  # when each is free again
        count = 0
        yield {"name": "process_name", "ph": "M", "pid": rank, "args": {"name": f"rank {rank}"}}
        for i in sorted(range(len(nodes)), key=begin.__getitem__):
            node = nodes[i]
            group = f"lane {node.lane}" if node.kind == Kind.COMP else node.kind.name.lower()
            free = threads.setdefault(group, [])
            if free and free[0][0] <= begin[i]:
                thread = heappop(free)[1]
            else:
                thread, count = count, count + 1
                yield {"name": "thread_name", "ph": "M", "pid": rank, "tid": thread, "args": {"name": group}}
            heappush(free, (end[i], thread))
            what = _title(node.kind, node.collective, node.nbytes, node.peer)
            yield {
                "name": node.name or what, "ph": "X", "pid": rank, "tid": thread, "ts": begin[i] * 1e6,
                "dur": (end[i] - begin[i]) * 1e6, "args": {"id": node.id, "what": what},
            }  # fmt: skip


def describe(trace: Trace, rank: int, node: int) -> str:
    """Name a node in an error."""
    found = next(islice(trace.nodes(rank), node, None))
    return f"rank {rank} node {found.id} ({_title(found.kind, found.collective, found.nbytes, found.peer)})"


def _title(kind: Kind, collective: str | None, nbytes: int, peer: int) -> str:
    if kind == Kind.COLL:
        return f"{collective} of {nbytes} bytes"
    if kind == Kind.SEND:
        return f"send {nbytes} bytes to {peer}"
    if kind == Kind.RECV:
        return f"recv {nbytes} bytes from {peer if peer >= 0 else 'any rank'}"
    return kind.name.lower()


def _readable(seconds: float) -> str:
    unit, factor = next(((u, f) for u, f in (("s", 1.0), ("ms", 1e3)) if seconds * f >= 1), ("us", 1e6))
    return f"{seconds * factor:.6g} {unit}"
