"""A strategy whose outcome is known: for tests of what is made of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyccl.sim import Cluster
from pyccl.sim.job import Applied, Job, Run, Spans, Strategy
from pyccl.sim.model import Layer, Model
from pyccl.sim.strategies.registry import register

CLUSTER = {"hosts": 4, "nic": "10 GB/s", "latency": "1 us", "price": "3600 USD/h", "power": "500 W"}
MODEL = Model("two", [Layer("a", 0.1, 0.2, 1000), Layer("b", 0.3, 0.4, 500)], batch=10)


@register("fake")
@dataclass(frozen=True)
class Fake(Strategy):
    """Steps of `compute` and `extra` seconds, the latter of one category; with jitter from the seed."""

    name = "fake"
    extra: float = 0.25
    category: int = 3
    jitter: bool = False
    stale: int = 0

    def run(self, job: Job) -> Run:
        size = job.cluster.size
        compute = job.model.seconds
        draws = np.random.default_rng(job.seed).random(job.steps) if self.jitter else np.zeros(job.steps)
        times = compute + self.extra * (1 + draws) * 8 / size
        ends = np.cumsum(times)
        categories = np.zeros((size, 6))
        categories[:, 0] = job.steps * compute
        categories[:, self.category] = ends[-1] - categories[:, 0]
        links = np.zeros(len(job.cluster.bandwidth))
        links[:3] = (100.0, 300.0, 200.0)
        kept = min(job.trace_steps, job.steps)
        spans = Spans(np.zeros(kept, np.int64), ["compute"] * kept, ends[:kept] - times[:kept], ends[:kept],
                      np.arange(kept))  # fmt: skip
        applied = None
        if self.stale:
            made = np.arange(1, job.steps + 1)
            applied = Applied(ends, made % size, np.maximum(0, made - 1 - self.stale), made)
        histogram = np.bincount([self.stale] * job.steps) if self.stale else None
        samples = job.steps * job.model.batch * (1 if self.stale else size)
        return Run(
            ends[-1], ends, categories, job.steps, samples, links, 1e9, histogram, 0, spans, applied, ("a note",)
        )


def cluster(**settings: object) -> Cluster:
    return Cluster.switch(**{**CLUSTER, **settings})
