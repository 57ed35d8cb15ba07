"""Training in which all workers meet once a step: the slowest sets the pace of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pyccl.errors import ConfigError
from pyccl.sim.costs import LEVELS
from pyccl.sim.group_play import Floats
from pyccl.sim.job import CATEGORIES, Job, Run, Spans
from pyccl.sim.timeline import Timeline

Program = Callable[[Timeline], None]
_BLOCK = 1 << 22  # draws held at once
_ROUNDS = 1 << 14  # looked at at once
MOST_TRACED = 64  # ranks
MOST_SPANS = 1 << 21


@dataclass(frozen=True, eq=False)
class Pace:
    """What the workers computed.

    Attributes
    ----------
    slowest : array of float, shape (rounds,) or (1,)
        Seconds of the slowest in each round; one entry if all rounds are equal.
    totals : array of float, shape (size,)
        Seconds of each worker in all rounds.
    rounds : int
    """

    slowest: Floats
    totals: Floats
    rounds: int


def paces(job: Job, size: int, seconds: float, every: int = 1) -> Pace:
    """Draw what `size` workers compute whose step takes `seconds` on average, in rounds of `every` steps.

    The last round has the steps that are left.
    """
    rounds = -(-job.steps // every)
    if job.workers is None:
        whole = np.full(rounds, seconds * every)
        whole[-1] = seconds * (job.steps - (rounds - 1) * every)
        alike = job.steps % every == 0
        return Pace(whole[:1] if alike else whole, np.full(size, seconds * job.steps), rounds)
    slowest, totals = np.empty(rounds), np.zeros(size)
    block = max(1, _BLOCK // (size * every))
    for first in range(0, rounds, block):
        last = min(rounds, first + block)
        begin, end = first * every, min(job.steps, last * every)
        times = job.workers.times(size, end - begin, seconds, job.seed, begin)
        sums = np.add.reduceat(times, np.arange(0, end - begin, every), axis=1) if every > 1 else times
        slowest[first:last] = sums.max(axis=0)
        totals += times.sum(axis=1)
    return Pace(slowest, totals, rounds)


def run_rounds(
    job: Job, program: Program, *, size: int, seconds: float, samples: float, memory: float, every: int = 1,
    tables: bool = False,
) -> Run:  # fmt: skip
    """Run `program` once for each round, on networks of every level, and put down where the time went.

    What latency, bytes and sharing cost is how much longer the rounds take for them, one after the other: a
    communication that is hidden behind computation costs nothing.

    Parameters
    ----------
    job : Job
    program : callable (Timeline)
        One round of the slowest worker; its computations add up to ``every * seconds``.
    size : int
        Number of workers.
    seconds : float
        What a worker computes in a step, as the model has it.
    samples : float
        Samples of all workers in a step.
    memory : float
        Bytes of a device.
    every : int
        Steps of a round.
    tables : bool
        Whether the program takes care of the model's embeddings.
    """
    pace, whole = paces(job, size, seconds, every), seconds * every
    traced = min(-(-job.trace_steps // every), pace.rounds)
    step_ends, sums, shown = np.zeros(pace.rounds), np.zeros(LEVELS), None
    for first in range(0, len(pace.slowest), _ROUNDS):
        slowest = pace.slowest[first : first + _ROUNDS]
        slow, begin = (slowest / whole, np.zeros_like(slowest)) if whole else (np.zeros_like(slowest), slowest)
        for level in range(LEVELS):
            timeline = Timeline(slow, begin, level, record=first == 0 and level == LEVELS - 1 and traced > 0)
            program(timeline)
            sums[level] += timeline.now.sum()
        shown = shown or timeline
        step_ends[first : first + len(slowest)] = timeline.now
    if len(pace.slowest) == 1:
        step_ends[:], sums = step_ends[0], sums * pace.rounds
    step_ends = np.cumsum(step_ends)
    makespan = float(step_ends[-1])
    moved = np.zeros(len(job.cluster.bandwidth)) + timeline.link_bytes * pace.rounds
    return Run(
        makespan, step_ends, categories(pace.totals, sums.tolist(), makespan), pace.rounds, samples * job.steps, moved,
        memory, spans=_spans(job, shown, traced, size, seconds, every), notes=() if tables else left_out(job),
    )  # fmt: skip


def left_out(job: Job) -> tuple[str, ...]:
    """Return a note where a model has embeddings that the strategy does not know."""
    if not job.model.embeddings:
        return ()
    return ("the model's embedding tables are left out, their memory too; strategy embedding has them",)


def categories(own: Floats, ends: list[float], makespan: float) -> Floats:
    """Return each worker's seconds by category: its own, waiting on a free network, and what each level adds."""
    table = np.zeros((len(own), len(CATEGORIES)))
    table[:, 0] = np.minimum(own, ends[0])
    waited = ends[0] - table[:, 0]
    table[:, 1] = np.where(waited > 1e-12 * makespan, waited, 0.0)  # below that it is rounding
    table[:, 2:5] = np.maximum(np.diff(ends), 0.0)
    largest = table.argmax(axis=1)
    table[np.arange(len(own)), largest] += makespan - table.sum(axis=1)
    return table


def traced_ranks(size: int) -> list[int]:
    """Return the ranks whose spans are kept: the first, the last, and others at equal distances."""
    return sorted({round(rank) for rank in np.linspace(0, size - 1, min(size, MOST_TRACED))})


def _spans(job: Job, timeline: Timeline | None, rounds: int, size: int, seconds: float, every: int) -> Spans:
    """Return what some ranks did in the first rounds: each computes at its own pace, and waits for the slowest."""
    rows: list[tuple[int, str, float, float, int]] = []
    if not rounds or timeline is None:
        return Spans()
    if rounds > _ROUNDS:
        raise ConfigError(f"trace_steps: {rounds} are more than {_ROUNDS}; trace fewer steps")
    ranks, offset = traced_ranks(size), 0.0
    check_spans(rounds * len(ranks) * len(timeline.events))
    for step in range(rounds):
        here, first = min(step, len(timeline.now) - 1), step * every
        count = min(every, job.steps - first)
        own = np.full(size, count * seconds)
        if job.workers is not None:
            own = job.workers.times(size, count, seconds, job.seed, first).sum(axis=1)
        for rank in ranks:
            mine = float(own[rank])
            rate, now = (mine / (seconds * every), 0.0) if seconds else (0.0, mine)
            for event in timeline.events:
                if event.begin is not None and event.end is not None:
                    rows.append((rank, event.kind, offset + event.begin[here], offset + event.end[here], step))
                elif event.end is not None:
                    now = max(now, float(event.end[here]))
                else:
                    rows.append((rank, event.kind, offset + now, offset + now + event.seconds * rate, step))
                    now += event.seconds * rate
        offset += float(timeline.now[here])
    return columns(rows)


def check_spans(count: int) -> None:
    """Raise ConfigError where a trace would have too many spans."""
    if count > MOST_SPANS:
        raise ConfigError(f"trace_steps: some {count} spans are more than {MOST_SPANS}; trace fewer steps")


def columns(rows: list[tuple[int, str, float, float, int]]) -> Spans:
    """Return spans given one by one as columns."""
    rank, kind, begin, end, step = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    return Spans(np.array(rank, np.int64), kind, np.array(begin, float), np.array(end, float), np.array(step, np.int64))
