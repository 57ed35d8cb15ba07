"""What limits a job, and what would help most, in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pyccl.sim import pace, report
from pyccl.sim.strategies import text

if TYPE_CHECKING:
    from pyccl.sim.training_result import Result

LIMITS = {
    "compute": "computing",
    "straggler": "waiting for slower workers",
    "latency": "the latency of messages",
    "bandwidth": "the bandwidth of links",
    "contention": "links that several messages share",
    "recovery": "failures and recovery from them",
}
BOUNDED = ("ssp", "bounded")
LESS_MEMORY = "zero3, tensor, a pipeline or a smaller batch"
PERSISTENT = 1.2
"""A worker whose steps take so many times the median's is slow for good."""


class Remedy(NamedTuple):
    """What could be done, the largest share of the time that it saves, and the categories that it is against."""

    what: str
    saving: float
    causes: tuple[str, ...]


def sentence(result: Result) -> str:
    """Return what limits the job and what would help most; savings are upper bounds from the breakdown.

    The limit is what the best remedy is against: half of the time spent computing may limit a job less than a third
    spent waiting, which could be saved entirely.
    """
    if not result.makespan:
        return "Nothing takes time here."
    if not result.fits:
        have, need = report.scaled(result.device_memory, "B"), report.scaled(result.memory, "B")
        return f"Limited by memory: a device has {have} and this needs {need}; {LESS_MEMORY} would need less."
    parts, best = _shares(result), remedies(result)[0]
    limit = max(best.causes, key=lambda name: parts[name])
    share = sum(parts[name] for name in best.causes)
    said = f"Limited by {LIMITS[limit]} ({share:.0%} of the time); {best.what} would help most, by up to "
    said += f"{best.saving:.0%}"
    warning = slow_for_good(result)
    return f"{said}; {warning}." if warning else f"{said}."


def _shares(result: Result) -> dict[str, float]:
    """Return the breakdown as shares of the time of those who take part."""
    whole = result.makespan - result.breakdown.get("idle", 0.0)
    return {name: result.breakdown[name] / whole for name in LIMITS}


def remedies(result: Result) -> list[Remedy]:
    """Return what could be done, that which saves most first."""
    parts = _shares(result)
    links = result.links(1)
    busiest = f" (the busiest link is {links[0].name}, {links[0].utilisation:.0%} used)" if links else ""
    more = "more servers, or " if hasattr(result.strategy, "servers") else ""
    halved, network = parts["bandwidth"] + parts["contention"], ("bandwidth", "contention")
    found = [
        Remedy("devices twice as fast", parts["compute"] / 2, ("compute",)),
        Remedy(_of_stragglers(result), parts["straggler"], ("straggler",)),
        Remedy("half the latency, or fewer and larger messages,", parts["latency"] / 2, ("latency",)),
        Remedy(f"{more}twice the bandwidth{busiest}", halved / 2, network),
        Remedy("fewer failures, cheaper checkpoints or a spare host", parts["recovery"], ("recovery",)),
    ]
    return sorted(found, key=lambda remedy: -remedy.saving)


def slow_workers(result: Result) -> list[int]:
    """Return the workers that are persistently slow."""
    factors = pace.factors(result.job, result.workers)
    return [int(worker) for worker in np.flatnonzero(factors > PERSISTENT * np.median(factors))]


def _of_stragglers(result: Result) -> str:
    slow = slow_workers(result)
    if slow:
        return f"replacing {_named(slow)}"
    if hasattr(result.strategy, "micro_batches"):
        return "more micro-batches, for a smaller bubble,"
    return "a strategy that waits less (ssp, backup or async), or steadier workers,"


def _named(workers: list[int]) -> str:
    if len(workers) > 3:
        return f"the {len(workers)} slow workers"
    return f"worker{'s' if len(workers) > 1 else ''} {', '.join(map(str, workers))}"


def slow_for_good(result: Result) -> str:
    """Return the warning that bounded staleness needs where a worker is persistently slow, else nothing."""
    slow = slow_workers(result)
    if not slow or not text(result.strategy).startswith(BOUNDED):
        return ""
    return f"SSP absorbs jitter, never a persistent straggler: {_named(slow)} sets the pace in the long run"
