"""What waited for what, inferred from when things ran."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from typing import NamedTuple

from pyccl.sim.formats.kineto_events import Event, Work
from pyccl.sim.recorder import Recorder
from pyccl.sim.trace import COLLECTIVE_NAMES, Columns, Kind

__all__ = ["Placed", "order"]

TICK = 2e-9
"""Times are written to the nanosecond; where they count from 1970, a float has less."""
LOOK_BACK = 1000
"""How many kernels at most are launched on a stream between a collective's launch and its start."""


class Placed(NamedTuple):
    """An event, with the number of its group and when the host launched it."""

    event: Event
    work: Work
    group: int
    name: str
    launched: float | None


class _Stream:
    """What has run on one stream so far, in order."""

    def __init__(self, lane: int) -> None:
        self.lane = lane
        self.nodes: list[int] = []
        self.ends: list[float] = []
        self.launches: list[float] = []

    def before(self, end: float) -> int:
        """Return how many have ended by `end`."""
        return bisect_right(self.ends, end)


def order(placed: list[Placed], skipped: Counter[str]) -> Columns:
    """Return the nodes of one rank: each event, after the host's time before it where it waited for nothing else."""
    out = Recorder()
    placed = sorted(placed, key=lambda p: p.event.start)
    streams = {place: _Stream(i) for i, place in enumerate(dict.fromkeys(sorted(p.event.place for p in placed)))}
    first = placed[0].event.start if placed else 0.0
    tick = max(TICK, 4 * math.ulp(first))
    for item in placed:
        start, duration, place = item.event
        start -= first
        own = streams[place]
        deps = _waits_for(item, start, own, [s for s in streams.values() if s is not own], tick, skipped)
        idle = start - max([end for _, end in deps], default=0.0)
        after = [node for node, _ in deps]
        if idle > tick:
            host = out.add(Kind.COMP, duration=idle, lane=len(streams) + own.lane)
            out.name(host, b"host")
            for node in after:
                out.after(host, node)
            after = [host]
        work = item.work
        code = COLLECTIVE_NAMES.index(work.collective) if work.collective else -1
        node = out.add(work.kind, work.nbytes or 0, work.peer, 0, duration, code, item.group, own.lane)
        out.name(node, item.name.encode("utf-8", "replace"))
        for other in after:
            out.after(node, other)
        own.nodes.append(node)
        own.ends.append(max(start + duration, own.ends[-1] if own.ends else 0.0))
        own.launches.append(item.launched if item.launched is not None else float("nan"))
    return out.finish()


def _waits_for(
    item: Placed, start: float, own: _Stream, others: list[_Stream], tick: float, skipped: Counter[str]
) -> list[tuple[int, float]]:
    """Return (node, end) of what `item` waited for."""
    deps = []
    idle_since = 0.0
    if own.nodes:
        if own.ends[-1] <= start + tick:
            idle_since = own.ends[-1]
            deps.append((own.nodes[-1], own.ends[-1]))
        else:
            skipped["overlap of two events on one stream"] += 1
    for stream in others:
        ended = stream.before(start + tick)
        if item.work.kind == Kind.COMP:
            found = ended if ended and stream.ends[ended - 1] > idle_since else 0
        elif item.launched is not None:
            found = ended
            while found > max(ended - LOOK_BACK, 0) and stream.launches[found - 1] > item.launched:
                found -= 1
        else:
            found = ended
        if found:
            deps.append((stream.nodes[found - 1], stream.ends[found - 1]))
    return deps
