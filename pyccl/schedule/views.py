"""Ways to look at a schedule: its dependencies, a listing, and a timeline in virtual time."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

from pyccl.schedule.table import Kind, Schedule, Step


def dependencies(steps: Sequence[Step]) -> tuple[tuple[int, ...], ...]:
    """Return, for each step, the earlier steps that it must wait for: all hazards on chunks, no transitive ones."""
    writer: dict[int, int] = {}
    readers: dict[int, list[int]] = defaultdict(list)
    waits = []
    for index, (kind, chunk, source_chunk, _) in enumerate(steps):
        reads = [c for c in (chunk if kind not in (Kind.RECV, Kind.COPY) else -1, source_chunk) if c >= 0]
        before = {writer[c] for c in reads if c in writer}
        if kind != Kind.SEND:
            before.update(readers.pop(chunk, ()) or ((writer[chunk],) if chunk in writer else ()))
            writer[chunk] = index
        for c in reads:
            if kind == Kind.SEND or c != chunk:
                readers[c].append(index)
        waits.append(tuple(sorted(before)))
    return tuple(waits)


def text(schedule: Schedule) -> str:
    """Return a readable listing of `schedule`, rank by rank."""
    lines = [repr(schedule)]
    for rank, steps in enumerate(schedule.steps):
        lines.append(f"rank {rank}")
        for index, (step, after) in enumerate(zip(steps, dependencies(steps), strict=True)):
            waits = f"   after {', '.join(map(str, after))}" if after else ""
            lines.append(f"  {index:4d}  {step}{waits}")
    return "\n".join(lines)


class _Clock:
    """Virtual time of every rank: one message in and one out at a time, each `alpha + bytes * beta` long."""

    def __init__(self, schedule: Schedule, alpha: float, beta: float, gamma: float, nbytes: int) -> None:
        self.alpha, self.beta, self.gamma = alpha, beta, gamma
        self.bytes = schedule.row.chunk_counts(nbytes, schedule.size, schedule.nchunks)
        self.steps = schedule.steps
        self.waits = [dependencies(steps) for steps in schedule.steps]
        self.ends: list[list[float]] = [[] for _ in range(schedule.size)]
        self.out_free = [0.0] * schedule.size
        self.in_free = [0.0] * schedule.size
        self.arrivals: dict[tuple[int, int], deque[float]] = defaultdict(deque)

    def _continues(self, rank: int, step: Step) -> bool:
        """Return whether the rank's next step is one more chunk of the message before it."""
        index = len(self.ends[rank])
        if index == 0 or not step.peers:
            return False
        before = self.steps[rank][index - 1]
        return before.kind == step.kind and before.peers == step.peers

    def ready(self, rank: int) -> float:
        """Return when the dependencies of the rank's next step are over."""
        ends = self.ends[rank]
        return max((ends[i] for i in self.waits[rank][len(ends)]), default=0.0)

    def step(self, rank: int, step: Step) -> tuple[float, float]:
        """Advance over `step`, whose messages have been sent; return its start and end."""
        alpha = 0.0 if self._continues(rank, step) else self.alpha
        cost = alpha + self.beta * self.bytes[step.chunk]
        combining = self.gamma * self.bytes[step.chunk]
        start = end = self.ready(rank)
        if step.kind == Kind.SEND:
            start = end = max(start, self.out_free[rank])
            for peer in sorted(step.peers, key=lambda p: (p - rank) % len(self.steps)):
                end += cost
                self.arrivals[rank, peer].append(end)
            self.out_free[rank] = end
        elif step.peers:
            for peer in sorted(step.peers, key=lambda p: self.arrivals[p, rank][0]):
                self.in_free[rank] = max(self.in_free[rank] + cost, self.arrivals[peer, rank].popleft())
            end = max(start, self.in_free[rank])
            end += combining * len(step.peers) if step.kind == Kind.RECV_REDUCE else 0.0
        elif step.kind == Kind.REDUCE:
            end += combining
        self.ends[rank].append(end)
        return start, end


def timeline(
    schedule: Schedule, *, alpha: float, beta: float, gamma: float, nbytes: int
) -> list[list[tuple[float, float]]]:
    """Return start and end in seconds of every step of every rank, by list scheduling in program order.

    A rank sends one message at a time and receives one at a time, both at once; combining follows the last arrival.
    Successive chunks to (or from) the same ranks are one message: they pay `alpha` once.
    The schedule must have passed `verify`.
    """
    clock = _Clock(schedule, alpha, beta, gamma, nbytes)
    times: list[list[tuple[float, float]]] = [[] for _ in range(schedule.size)]
    runnable = deque(range(schedule.size))
    while runnable:
        rank = runnable.popleft()
        steps = schedule.steps[rank]
        while len(times[rank]) < len(steps):
            step = steps[len(times[rank])]
            if step.kind != Kind.SEND and not all(clock.arrivals[p, rank] for p in step.peers):
                break
            times[rank].append(clock.step(rank, step))
            if step.kind == Kind.SEND:
                runnable.extend(step.peers)
    return times


def chrome_trace(schedule: Schedule, *, alpha: float, beta: float, gamma: float, nbytes: int) -> list[dict[str, Any]]:
    """Return the timeline as "complete" events of the Chrome trace format, one process per rank."""
    times = timeline(schedule, alpha=alpha, beta=beta, gamma=gamma, nbytes=nbytes)
    events: list[dict[str, Any]] = []
    for rank, steps in enumerate(schedule.steps):
        free = [0.0, 0.0]  # events of one lane must not overlap: waiting in line is not drawn
        for index, (step, (ready, end)) in enumerate(zip(steps, times[rank], strict=True)):
            lane = 0 if step.kind == Kind.SEND else 1
            start = min(max(ready, free[lane]), end)
            free[lane] = max(free[lane], end)
            events.append(
                {
                    "name": str(step),
                    "cat": Kind(step.kind).name.lower(),
                    "ph": "X",
                    "pid": rank,
                    "tid": lane,
                    "ts": start * 1e6,
                    "dur": (end - start) * 1e6,
                    "args": {"step": index, "chunk": step.chunk, "peers": list(step.peers)},
                }
            )
    return events
