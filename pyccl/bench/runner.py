"""Times contenders against each other: in turn, on varying data, every result checked, the maximum over the ranks."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from .data import phase
from .stats import Sample, summarise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from .cases import Expectation
    from .interface import Array, Call, World

LEAST, MOST = 4, 1000
ROUNDS = 4
FULL_CHECK = 1 << 20
"""Bytes up to which every result is read whole; of larger ones, after the warm-up, one block in SAMPLE by turns."""
SAMPLE = 8


@dataclass
class Contender:
    """One way to compute the same thing. `wrong` counts elements, over all iterations, of this rank."""

    call: Call
    x: Array
    out: Array
    expected: Expectation
    wrong: int = 0
    iteration: int = 0

    def step(self, barrier: Call, *, whole: bool = False) -> float:
        """Write new data, meet, run once and check; return the seconds of the run alone."""
        shift = phase(self.iteration)
        self.iteration += 1
        self.expected.fill(self.x, shift)
        barrier()
        start = perf_counter()
        self.call()
        seconds = perf_counter() - start
        small = self.out.nbytes <= FULL_CHECK
        self.wrong += self.expected.wrong(self.out, shift, 1 if whole or small else SAMPLE)
        return seconds


@dataclass(frozen=True)
class Result:
    """Of one contender: seconds (maximum over the ranks per iteration) and wrong elements over all ranks."""

    sample: Sample
    wrong: int


def race(
    world: World, contenders: Sequence[Contender], budget: float, iterations: int | None = None, warm_ups: int = 2
) -> list[Result]:
    """Time `contenders` in alternating batches for about `budget` seconds (or `iterations` each).

    The same on every rank, and on every rank the same result: how long to go on is rank 0's decision, and the times
    are combined by one MPI reduction at the end.
    """
    barrier = world.comm.barrier
    times: list[list[float]] = [[] for _ in contenders]
    with no_garbage_collection():
        costs = [warm_up(contender, barrier, warm_ups) for contender in contenders]
        counts = world.agree([iterations or share(cost, budget / len(contenders)) for cost in costs])
        deadline = perf_counter() + 1.2 * budget
        for batch in batches(counts):
            for contender, seconds, count in zip(contenders, times, batch, strict=True):
                seconds.extend(contender.step(barrier) for _ in range(count))
            late = perf_counter() > deadline and min(map(len, times)) >= LEAST
            if iterations is None and world.agree([late])[0]:
                break
    return combine(world, contenders, times)


def share(cost: float, budget: float) -> int:
    """Return how many iterations of `cost` seconds to run within `budget`."""
    return int(min(max(budget / max(cost, 1e-9), LEAST), MOST))


def batches(counts: Sequence[int]) -> Iterator[list[int]]:
    """Split `counts` into alternating batches: at most ROUNDS, none without a turn of every contender."""
    rounds = min(ROUNDS, *counts)
    for k in range(rounds):
        yield [count * (k + 1) // rounds - count * k // rounds for count in counts]


def combine(world: World, contenders: Sequence[Contender], times: Sequence[Sequence[float]]) -> list[Result]:
    """Reduce every contender's times (maximum) and errors (sum) over the ranks."""
    flat = worst(world, np.concatenate([np.asarray(seconds) for seconds in times]))
    wrong = world.mpi.allreduce(np.array([contender.wrong for contender in contenders], np.int64))
    results, start = [], 0
    for seconds, bad in zip(times, wrong, strict=True):
        results.append(Result(summarise(flat[start : start + len(seconds)]), int(bad)))
        start += len(seconds)
    return results


def worst(world: World, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the elementwise maximum over the ranks, on all of them."""
    from mpi4py import MPI

    result = np.empty_like(times)
    world.mpi.Allreduce(times, result, MPI.MAX)
    return result


def warm_up(contender: Contender, barrier: Call, times: int) -> float:
    """Run `times` times, reading every result whole; return the cost of the last, its data and check included."""
    cost = 0.0
    for _ in range(times):
        start = perf_counter()
        contender.step(barrier, whole=True)
        cost = perf_counter() - start
    return cost


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Keep Python's collector from running inside a timed call."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
