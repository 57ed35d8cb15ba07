"""What a simulated training has brought."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyccl.sim.job import CATEGORIES, Floats, Ints, Job, Run, Strategy


@dataclass(frozen=True, eq=False)
class Result:
    """The outcome of `simulate`.

    Attributes
    ----------
    job : Job
    strategy : Strategy
    run : Run
    """

    job: Job
    strategy: Strategy
    run: Run

    @property
    def makespan(self) -> float:
        """Seconds of the whole job."""
        return self.run.makespan

    @property
    def step_time(self) -> float:
        """Mean seconds from one version of the model to the next."""
        return self.run.makespan / self.run.updates if self.run.updates else math.inf

    @property
    def throughput(self) -> float:
        """Useful samples per second."""
        return self.run.samples / self.run.makespan if self.run.makespan else math.inf

    @property
    def breakdown(self) -> dict[str, float]:
        """Seconds of the mean worker by category; they sum to the makespan exactly (`math.fsum`)."""
        parts: Floats = self.run.categories.mean(axis=0)
        found = dict(zip(CATEGORIES, parts.tolist(), strict=True))
        largest = max(found, key=lambda name: found[name])
        for _ in range(4):  # the rest of rounding goes to the largest part
            found[largest] += self.run.makespan - math.fsum(found.values())
        return found

    @property
    def staleness(self) -> Ints | None:
        """Gradients applied by their staleness, or None where there is none."""
        return self.run.staleness

    @property
    def cost(self) -> float:
        """USD for all hosts from start to end."""
        return self.job.cluster.price * self.run.makespan
