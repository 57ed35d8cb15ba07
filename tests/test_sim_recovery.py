"""Failures, and what they cost: against what can be counted by hand, and Young's formula."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyccl.errors import ConfigError
from pyccl.sim import Cluster, Recovery, Workers
from pyccl.sim.failures import Failures, failures, rate
from pyccl.sim.job import Run
from pyccl.sim.recovery import recover, with_failures


def run_of(steps: int, seconds: float = 10.0, workers: int = 4) -> Run:
    ends = seconds * np.arange(1.0, steps + 1)
    table = np.zeros((workers, 6))
    table[:, 0] = ends[-1]
    return Run(float(ends[-1]), ends, table, steps, 100.0 * steps, np.ones(3))


def met(*events: tuple[float, int, float]) -> Failures:
    """Failures of (time, ranks, repair), each of other devices."""
    time, ranks, repair = (np.array(column) for column in zip(*events, strict=True)) if events else ([], [], [])
    count = np.array(ranks, np.int64)
    none = np.zeros(len(events), np.int64)
    return Failures(np.array(time, float), none, none, np.cumsum(count) - count, count, np.array(repair, float))


def hosts(n: int = 4, each: int = 2) -> Cluster:
    return Cluster.switch(hosts=n, gpus_per_host=each, nic="10 GB/s", latency="1 us")


NEVER = math.inf
AT_ONCE: dict[str, Any] = {"detect": 1.0, "restart": 4.0}


@pytest.mark.parametrize(
    ("options", "events", "makespan", "lost"),
    [
        ({}, [], 100, 0),
        ({"interval": 0.0}, [(35, 1, NEVER)], 140, 35),  # no checkpoint: from the start again
        ({"interval": 20.0}, [(35, 1, NEVER)], 120, 15),  # checkpoints cost nothing after steps 2, 4, …
        ({"interval": 20.0, "checkpoint": 2.0}, [(35, 1, NEVER)], 100 + 4 * 2 + 13 + 5, 13),
        ({"interval": 20.0, "checkpoint": 2.0}, [(21, 1, NEVER)], 100 + 4 * 2 + 21 + 5, 21),  # during a checkpoint
        ({"interval": 20.0}, [(35, 1, NEVER), (37, 1, NEVER)], 122, 15),  # a second one while it stands still
        ({"interval": 20.0}, [(35, 1, 60.0)], 100 + 15 + 60, 15),  # waits for the repair
        ({"interval": 20.0, "spares": 1}, [(35, 1, 60.0)], 120, 15),
        ({"interval": 20.0, "spares": 1}, [(35, 1, 60.0), (50, 1, 60.0)], 100 + 15 + 5 + 10 + 60, 25),
        ({"interval": 20.0}, [(200, 1, NEVER)], 100, 0),  # the job has ended
        ({"policy": "shrink", "interval": 0.0}, [(35, 1, NEVER)], 110, 5),
        ({"policy": "shrink", "interval": 0.0}, [(30, 1, NEVER)], 105, 0),
    ],
)
def test_by_hand(options: dict[str, Any], events: list[Any], makespan: float, lost: float) -> None:
    run = run_of(10)
    found = recover(run, Recovery(**AT_ONCE, **options), met(*events), 0.01, 1e6)
    assert (found.run.makespan, found.lost) == pytest.approx((makespan, lost))
    assert found.run.makespan == pytest.approx(run.makespan + found.lost + found.down + found.saving)
    assert found.run.categories.sum(axis=1).tolist() == pytest.approx([makespan] * 4)
    assert found.run.step_ends[-1] == pytest.approx(makespan)
    assert (np.diff(found.run.step_ends) > 0).all()


def test_fewer_workers_use_fewer_samples() -> None:
    """A worker is away from 35 s to 75 s: steps that begin at 40 (again, after 5 s), 50, 60 and 70 s lack it."""
    recovery = Recovery(policy="shrink", interval=0.0, **AT_ONCE)
    found = recover(run_of(10), recovery, met((35, 1, 40.0)), 0.01, 1e6)
    assert found.run.samples == pytest.approx(1000 * (1 - 4 / 40))
    with pytest.raises(ConfigError, match="after 41 s no worker is left"):
        recover(run_of(10), recovery, met((35, 3, NEVER), (41, 1, NEVER)), 0.01, 1e6)


def test_a_repaired_spare_serves_again() -> None:
    recovery = Recovery(policy="shrink", interval=0.0, spares=1, **AT_ONCE)
    found = recover(run_of(20), recovery, met((35, 1, 5.0), (95, 1, 1e9)), 0.01, 1e6)
    assert (found.failures, found.run.samples) == (2, 2000)


def test_what_is_away_cannot_fail() -> None:
    """The same device four times, then the host of which it is a part, repaired sooner."""
    device, host = [(t, 0, 1, NEVER) for t in (15.0, 35.0, 55.0, 75.0)], [(80.0, 0, 2, 7.0)]
    time, first, ranks, repair = (np.array(column) for column in zip(*device, *host, strict=True))
    none = np.zeros(5, np.int64)
    events = Failures(time, none, none, first.astype(int), ranks.astype(int), repair)
    found = recover(run_of(10), Recovery(policy="shrink", interval=0.0, **AT_ONCE), events, 0.01, 1e6)
    # One device from 20 s on (the step from 10 s again), its neighbour for the step that begins at 85 s.
    assert found.failures == 2
    assert found.run.samples == pytest.approx(1000 * (1 - (9 + 1) / 40))


@settings(max_examples=60, deadline=None)
@given(
    events=st.lists(st.tuples(st.floats(0, 300), st.integers(1, 1), st.sampled_from([NEVER, 3.0, 50.0])), max_size=8),
    interval=st.sampled_from([0.0, 15.0, 40.0]), checkpoint=st.sampled_from([0.0, 3.0]), spares=st.integers(0, 2),
)  # fmt: skip
def test_what_is_added_is_accounted_for(
    events: list[tuple[float, int, float]], interval: float, checkpoint: float, spares: int
) -> None:
    recovery = Recovery(interval=interval, checkpoint=checkpoint, spares=spares, **AT_ONCE)
    run = run_of(12)
    found = recover(run, recovery, met(*sorted(events)), 0.01, 1e9)
    assert found.run.makespan == pytest.approx(run.makespan + found.lost + found.down + found.saving)
    assert found.down >= (4.999 if found.failures else 0)
    assert (np.diff(found.run.step_ends) > 0).all()
    more = recover(run, recovery, met(*sorted([*events, (50.0, 1, NEVER)])), 0.01, 1e9)
    assert more.failures >= found.failures


def test_the_interval_of_young_is_the_best() -> None:
    """Twelve weeks of a large machine; common failures, so that only the interval differs."""
    cluster, workers = hosts(64, 8), Workers(mtbf=3600.0 * 512 * 4)
    run = run_of(60_000, 120.0, workers=512)

    def mean(interval: float) -> float:
        recovery = Recovery(checkpoint=60.0, interval=interval, **AT_ONCE)
        return float(np.mean([with_failures(run, workers, cluster, recovery, s).run.makespan for s in range(6)]))

    young = Recovery(checkpoint=60.0).between(rate(workers, cluster))
    assert young == pytest.approx(math.sqrt(2 * 60 * 3600 * 4))
    assert mean(young) < min(mean(young / 4), mean(young * 4))
    # First order: C / tau + tau / (2 M) of the time, besides what every failure costs.
    overhead = 60 / young + young / (2 * 4 * 3600) + 5 / (4 * 3600)
    assert mean(young) / run.makespan - 1 == pytest.approx(overhead, rel=0.15)
    daly = Recovery(checkpoint=60.0, interval="daly").between(rate(workers, cluster))
    assert daly == pytest.approx(young, rel=0.1)


# --- failures


def test_failures_come_as_often_as_their_rates_say() -> None:
    workers = Workers(mtbf=1e4, node_mtbf=2e4, domain_mtbf=5e4, domain=2, preemption=4e4, repair="constant(7 s)")
    cluster, horizon = hosts(50, 4), 1e5
    found = failures(workers, cluster, horizon, seed=1)
    want = {0: 200 / 1e4, 1: 50 / 2e4, 2: 25 / 5e4, 3: 50 / 4e4}
    assert rate(workers, cluster) == pytest.approx(sum(want.values()))
    for kind, often in want.items():
        count = int((found.kind == kind).sum())
        assert count == pytest.approx(often * horizon, abs=5 * math.sqrt(often * horizon))
    assert (np.diff(found.time) >= 0).all()
    assert found.time[-1] <= horizon
    assert set(found.ranks[found.kind == 2].tolist()) == {8}
    assert set(found.repair.tolist()) == {7.0}


def test_more_hosts_and_a_longer_time_change_no_failure() -> None:
    workers = Workers(mtbf=1e4, node_mtbf=2e4)
    few, many = (failures(workers, hosts(n), 1e4, seed=3) for n in (4, 40))
    longer = failures(workers, hosts(4), 2e4, seed=3)

    def rows(found: Failures, hosts_: int) -> list[tuple[float, int, int]]:
        all_ = zip(found.time.tolist(), found.kind.tolist(), found.index.tolist(), strict=True)
        return [row for row in all_ if row[2] < (2 * hosts_ if row[1] == 0 else hosts_) and row[0] <= 1e4]

    assert rows(few, 4) == rows(many, 4) == rows(longer, 4)
    assert len(rows(few, 4)) > 0


def test_a_job_that_cannot_end_says_so() -> None:
    with pytest.raises(ConfigError, match="too many for this job to end"):
        with_failures(run_of(1000), Workers(mtbf=50.0), hosts(), Recovery(interval=0.0), 1)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"policy": "hope"}, "one of restart, shrink"),
        ({"interval": "often"}, "interval"),
        ({"checkpoint": "3"}, "no unit"),
        ({"spares": -1}, "at least 0"),
        ({"detect": -1.0}, "at least 0"),
    ],
)
def test_bad_settings_are_one_clear_error(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Recovery(**options)


@pytest.mark.parametrize("shape", [0.5, 1.0, 2.0])
def test_times_between_failures_are_weibull(shape: float) -> None:
    found = failures(Workers(mtbf=100.0, shape=shape), hosts(500, 2), 1000.0, seed=3)
    first = np.full(1000, np.nan)
    for time, device in zip(found.time[::-1], found.index[::-1], strict=True):
        first[device] = time
    scale = 100 / math.gamma(1 + 1 / shape)
    for share in (0.2, 0.5, 0.8):  # some of the first failures lie beyond the horizon
        quantile = scale * (-math.log(1 - share)) ** (1 / shape)
        assert np.mean(first <= quantile) == pytest.approx(share, abs=0.05)
    for bad in (0.0, -1.0, True, math.nan):
        with pytest.raises(ConfigError, match=r"shape must be a number from 0\.1 to 10"):
            Workers(mtbf=100.0, shape=bad)


def test_a_notice_lets_a_checkpoint_be_made_in_time() -> None:
    """At 57 s five steps of 10 s have ended and a checkpoint of 3 s still fits: nothing but the step is lost."""
    one = met((57.0, 1, NEVER))
    kind = np.array([3])
    away = Recovery(checkpoint=3.0, interval=0.0, **AT_ONCE)
    lost = []
    for notice in (0.0, 2.0, 5.0):
        found = recover(run_of(10), away, Failures(**{**vars(one), "kind": kind, "notice": notice}), 0.01, 1e9)
        lost.append((found.lost, found.down))
    assert lost == [(57.0, 5.0), (57.0, 5.0), (7.0, 4.0)]
    crash = recover(run_of(10), away, Failures(**{**vars(one), "notice": 5.0}), 0.01, 1e9)
    assert crash.lost == 57.0  # a failure is not told before
    with pytest.raises(ConfigError, match="notice is that of a preemption"):
        Workers(mtbf="1 h", notice="2 min")


def test_a_notice_in_a_whole_job() -> None:
    def goodput(notice: str) -> float:
        workers = Workers(preemption="2 h", notice=notice)
        cluster = hosts(8, 1)
        run = with_failures(run_of(2000, workers=8), workers, cluster, Recovery(checkpoint="5 s", interval="30 min"), 1)
        return 2e4 / run.run.makespan

    assert goodput("30 s") > 1.2 * goodput("0 s")
