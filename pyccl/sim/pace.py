"""How fast the workers of a job are on their own."""

from __future__ import annotations

import numpy as np

from pyccl.sim.job import Floats, Job


def alone(job: Job) -> float:
    """Return the mean seconds that one healthy device computes in a step."""
    base = job.model.seconds
    if job.workers is None:
        return base
    compute = job.workers.compute
    return float(compute.mean() * (base if compute.relative else 1.0))


def factors(job: Job, size: int) -> Floats:
    """Return how many times longer each of `size` workers takes for good, shape (size,)."""
    given = None if job.workers is None else np.asarray(job.workers.columns(size, job.model.seconds).factors)
    return np.ones(size) if given is None or not len(given) else given
