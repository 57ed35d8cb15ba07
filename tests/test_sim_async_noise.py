"""Asynchronous training on a busy server: what a change of latency may and may not do; backup workers and slow ones."""

from __future__ import annotations

import numpy as np
import pytest

from pyccl.sim import Cluster, Model, Workers, simulate
from pyccl.sim.model import Layer
from pyccl.sim.training_result import Result

MODEL = Model("one", [Layer("all", 0.06, 0.12, 100_000_000)], batch=32)
RANDOM = Workers(compute="lognormal(cv=0.15)")
LATENCIES = ("0 us", "10 us", "100 us", "1 ms", "10 ms")


def run(latency: str, strategy: str, workers: Workers | None = None, *, steps: int = 60, seed: int = 0) -> Result:
    cluster = Cluster.switch(hosts=13, nic="25 Gbit/s", latency=latency)
    return simulate(cluster, MODEL, strategy, workers=workers, steps=steps, seed=seed)


@pytest.mark.parametrize("servers", [1, 2, 6])
def test_equal_workers_are_never_faster_with_more_latency(servers: int) -> None:
    rates = [run(latency, f"ps_async(servers={servers})").throughput for latency in LATENCIES]
    assert all(np.diff(rates) < 0)


def test_what_differs_with_random_workers_is_chance() -> None:
    """Who comes first decides who shares with whom: one seed is chance, as another seed is; the mean is not."""
    table = np.array(
        [[run(at, "ps_async", RANDOM, seed=seed).throughput for at in LATENCIES] for seed in range(16)]
    )  # fmt: skip
    moved = np.abs(table[:, :3] / table[:, :1] - 1).max()  # of up to 100 us, in steps of 180 ms and more
    chance = table[:, 0].std(ddof=1) / table[:, 0].mean()
    assert 0.001 < moved < 6 * chance
    mean, error = table.mean(axis=0), table.std(axis=0, ddof=1) / 4
    assert (np.diff(mean) < 3 * np.hypot(error[1:], error[:-1])).all()
    long = [run("0 us", "ps_async", RANDOM, steps=2000, seed=seed).throughput for seed in range(8)]
    assert np.std(long, ddof=1) / np.mean(long) < chance / 2  # it goes with the length of the run


@pytest.mark.parametrize(("slow", "backup", "step"), [(0, 2, 0.18), (1, 1, 0.18), (2, 2, 0.18), (2, 1, 0.54)])
def test_backup_workers_stand_in_for_those_that_are_slow_for_good(slow: int, backup: int, step: float) -> None:
    """The first N gradients labelled t make step t; who is late gives up and restarts (Chen et al. 2016)."""
    workers = Workers(slow=dict.fromkeys(range(7 - slow, 7), 3.0))
    cluster = Cluster.switch(hosts=8, nic="10 TB/s", latency="1 ns")
    result = simulate(cluster, MODEL, f"backup:{backup}", workers=workers, steps=20)
    assert result.step_time == pytest.approx(step, rel=1e-3)
    applied = result.run.applied
    assert applied is not None
    assert (applied.made == applied.read + 1).all()  # never to a later version
    assert (np.bincount(applied.made)[1:] == 7 - backup).all()
    if slow <= backup:
        assert applied.worker.max() < 7 - slow or not slow  # nobody slow is ever among them
    assert result.run.dropped == backup * result.run.updates
