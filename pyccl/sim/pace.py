"""How fast the workers of a job are on their own."""

from __future__ import annotations

import numpy as np

from pyccl.sim.distributions import Distribution
from pyccl.sim.job import Floats, Job, Run


def alone(job: Job) -> float:
    """Return the mean seconds that one healthy device computes in a step."""
    base = job.model.seconds
    if job.workers is None:
        return base
    compute = job.workers.compute
    assert isinstance(compute, Distribution)
    return float(compute.mean() * (base if compute.relative else 1.0))


def factors(job: Job, size: int) -> Floats:
    """Return how many times longer each of `size` workers takes for good, shape (size,)."""
    given = None if job.workers is None else np.asarray(job.workers.columns(size, job.model.seconds).factors)
    return np.ones(size) if given is None or not len(given) else given


def together(job: Job, run: Run) -> float | None:
    """Return the samples per second until the first worker has ended; None where workers end together.

    Each does the same number of steps, so that fast ones end early where nobody waits, and slow ones go on alone.
    """
    applied = run.applied
    if applied is None or run.staleness is None or not run.staleness[1:].any() or run.categories[:, -1].any():
        return None
    workers = len(run.categories)
    if (np.bincount(applied.worker, minlength=workers) != job.steps).any():
        return None
    last = np.zeros(workers)
    np.maximum.at(last, applied.worker, applied.time)
    end = float(last.min())
    share = float((applied.time <= end).mean())
    return run.samples * share / end if end > 0 else None
