"""Training with a parameter server: worked examples, closed forms, and laws of every rule."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyccl import _core
from pyccl.policy import SSP, Async, BoundedDelay, FedBuff, KAsync, Policy, SoftSync, Sync
from pyccl.sim import Cluster
from pyccl.sim.servers import Death, Shards, Trained, to_run, train

RATE = 1e9
MODEL = 1e8
GOLDEN = {1: 2.121, 8: 2.273, 64: 6.107801978, 256: 24.204636840, 1024: 105.661105583}
POLICIES = [Sync(), Sync(backup=1), Async(), Async(2), Async(2, "wait"), SSP(0), SSP(2), BoundedDelay(1), KAsync(2),
            SoftSync(2), FedBuff(3)]  # fmt: skip


def shards(workers: int, servers: int = 1, nbytes: float = MODEL, latency: float = 0.0, **options: object) -> Shards:
    """Return dedicated servers after the workers, one device each on a switch of 1 GB/s."""
    cluster = Cluster.switch(hosts=workers + servers, nic=RATE, latency=latency)
    devices = np.arange(workers + servers)
    parts = {"push": nbytes, "pull": nbytes, "state": nbytes, **options}
    return Shards(cluster, devices[:workers], devices[workers:], **parts)  # type: ignore[arg-type]


def colocated(workers: int, nbytes: float = MODEL, **options: object) -> Shards:
    devices = np.arange(workers)
    cluster = Cluster.switch(hosts=workers, nic=RATE, latency=0.0)
    return Shards(cluster, devices, devices, nbytes, nbytes, nbytes, **options)  # type: ignore[arg-type]


def free(policy: Policy, seconds: np.ndarray, steps: int, **options: object) -> Trained:
    """Train on a network that costs nothing."""
    return train(shards(len(seconds), nbytes=0.0), policy, seconds, steps=steps, **options)  # type: ignore[arg-type]


def ends(trained: Trained, worker: int) -> list[float]:
    """Return when a worker's rounds were applied."""
    mine = trained.log["applied_worker"] == worker
    found: list[float] = trained.log["applied_time"][mine].tolist()
    return found


def random_seconds(workers: int, steps: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).exponential(1.0, (workers, steps))


# --- worked examples


@pytest.mark.parametrize(("staleness", "fast"), [(0, 39.0), (3, 33.0)])
def test_ssp_follows_the_slowest_in_the_long_run(staleness: int, fast: float) -> None:
    trained = free(SSP(staleness), np.array([[1.0], [1.0], [1.0], [2.0]]), 20)
    assert ends(trained, 0)[19] == fast
    assert ends(trained, 3)[19] == 40
    if staleness == 3:
        assert ends(trained, 0)[:8] == [1, 2, 3, 4, 5, 6, 7, 9]


@pytest.mark.parametrize(("backup", "mean"), [(0, 2.717857), (1, 1.828968), (2, 1.428968)])
def test_backup_workers_cut_the_tail(backup: int, mean: float) -> None:
    """E[step] = H(N + b) - H(b) for N = 8 and exponential times of mean 1 (Chen et al. 2016)."""
    steps = 20_000
    trained = free(Sync(backup), random_seconds(8 + backup, 2 * steps, seed=3), steps, most_rows=0)
    sigma = math.sqrt(sum(1 / i**2 for i in range(backup + 1, 8 + backup + 1)) / steps)
    assert trained.log["makespan"] / steps == pytest.approx(mean, abs=4 * sigma)
    assert trained.log["used"] == 8 * steps
    assert trained.log["staleness"].tolist() == [8 * steps]


def test_equal_workers_are_as_stale_as_there_are_others() -> None:
    staleness = free(Async(), np.ones((16, 1)), 50).log["staleness"]
    assert staleness[15] == 16 * 49 + 1
    assert staleness[:15].tolist() == [1] * 15


@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_softsync_is_about_n_versions_stale(n: int) -> None:
    staleness = free(SoftSync(n), random_seconds(16, 400, seed=1), 400).log["staleness"]
    assert np.average(np.arange(len(staleness)), weights=staleness) == pytest.approx(n, rel=0.1)


@settings(max_examples=60, deadline=None)
@given(workers=st.integers(1, 9), steps=st.integers(1, 12), seed=st.integers(0, 1000), nbytes=st.sampled_from([0, 3e8]))
def test_mean_staleness_of_async_is_exact(workers: int, steps: int, seed: int, nbytes: float) -> None:
    """Workers that pull with their push: (sum of v_i - U) / U, v_i the version after worker i's last push."""
    log = train(shards(workers, nbytes=nbytes), Async(), random_seconds(workers, steps, seed), steps=steps).log
    last = dict(zip(log["applied_worker"].tolist(), log["applied_made"], strict=True))
    updates = workers * steps
    stale = (np.arange(len(log["staleness"])) * log["staleness"]).sum()
    assert stale == sum(last.values()) - updates
    assert len(log["step_ends"]) == updates


# --- the network


@pytest.mark.parametrize("workers", GOLDEN)
def test_scenario_b_with_its_split(workers: int) -> None:
    i, k = np.arange(workers)[:, None], np.arange(10)
    times = 0.1 + 0.2 * ((7919 * i + 104729 * k) % 1000) / 1000
    server = shards(workers, nbytes=8e6)  # 12.5 times slower and smaller than 100 MB over 12.5 GB/s
    trained = train(server, Async(), times, steps=10)
    assert trained.log["makespan"] == pytest.approx(GOLDEN[workers], abs=5e-10)
    run = to_run(trained, samples=1, memory=0, notes=())
    assert run.categories.sum(axis=1) == pytest.approx(np.full(workers, run.makespan), rel=1e-12)
    assert run.categories[:, 0] == pytest.approx(times.sum(axis=1))
    assert run.categories[:, 3] == pytest.approx(np.full(workers, 10 * 2 * 0.008))


@pytest.mark.parametrize(("workers", "servers"), [(1, 1), (4, 1), (4, 2), (3, 5), (8, 8)])
def test_dedicated_servers_take_what_the_formula_says(workers: int, servers: int) -> None:
    log = train(shards(workers, servers, latency=1e-3), Sync(), np.zeros((workers, 1)), steps=3).log
    each = max(MODEL / RATE, workers * MODEL / (servers * RATE)) + 2e-3
    assert log["makespan"] == pytest.approx(3 * 2 * each, rel=1e-9)


@pytest.mark.parametrize("workers", [2, 3, 8])
def test_colocated_servers_take_what_the_formula_says(workers: int) -> None:
    log = train(colocated(workers), Sync(), np.zeros((workers, 1)), steps=2).log
    assert log["makespan"] == pytest.approx(2 * 2 * (workers - 1) * MODEL / (workers * RATE), rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(policy=st.sampled_from(POLICIES), servers=st.integers(1, 3), latency=st.sampled_from([0.0, 0.01]),
       apply=st.sampled_from([0.0, 1e-9]), seed=st.integers(0, 1000))  # fmt: skip
def test_the_networks_are_one_where_all_apply(
    policy: Policy, servers: int, latency: float, apply: float, seed: int
) -> None:
    server = shards(5, servers, latency=latency, apply=apply)
    times = random_seconds(5, 8, seed)
    runs = [train(server, policy, times, steps=8, network=kind) for kind in ("uniform", "groups", "flows")]
    for one in runs[:2]:
        same(one, runs[2])


def same(one: Trained, other: Trained) -> None:
    for name in ("makespan", "finish", "step_ends", "seconds"):
        assert one.log[name] == pytest.approx(other.log[name], rel=1e-9, abs=1e-9), name
    for name in ("staleness", "applied_worker", "applied_read", "pushes", "pulls", "dropped"):
        assert np.array_equal(one.log[name], other.log[name]), name
    assert one.link_bytes == pytest.approx(other.link_bytes, rel=1e-12)


CLUSTERS = {
    "fat tree": lambda: Cluster.fat_tree(
        hosts=6, gpus_per_host=2, nic=RATE, latency=1e-3, oversubscription=3, hosts_per_leaf=2, intra=5 * RATE
    ),
    "narrow": lambda: Cluster.fat_tree(hosts=9, nic=RATE, latency=0.0, oversubscription=8, hosts_per_leaf=3, spines=1),
    "two kinds": lambda: Cluster.switch(
        nodes=[{"hosts": 5, "nic": RATE / 4}, {"hosts": 4, "nic": 3 * RATE}], latency=1e-3
    ),
    "wan": lambda: Cluster.wan(uplink=RATE / 2, uplink_latency=0.05, sites=3, hosts=10, nic=RATE, latency=1e-3),
    "ring": lambda: Cluster.ring(hosts=7, nic=RATE, latency=1e-3),
    "half duplex": lambda: Cluster.switch(hosts=6, nic=RATE, latency=1e-3, duplex="half"),
}


@pytest.mark.parametrize("name", CLUSTERS)
@settings(max_examples=15, deadline=None)
@given(policy=st.sampled_from(POLICIES), seed=st.integers(0, 1000), pull=st.sampled_from([0.0, 5e8]))
def test_groups_of_messages_move_as_each_would(name: str, policy: Policy, seed: int, pull: float) -> None:
    cluster = CLUSTERS[name]()
    devices = np.arange(cluster.size)
    server = Shards(cluster, devices[:-1], devices[-1:], MODEL * 3, pull, MODEL)
    times = random_seconds(cluster.size - 1, 5, seed)
    same(*(train(server, policy, times, steps=5, network=kind) for kind in ("groups", "flows")))


def test_equal_ways_are_one_group() -> None:
    """Links that another one always limits first are left out: 1,023 workers of a fat tree are two groups each way."""
    cluster = Cluster.fat_tree(hosts=128, gpus_per_host=8, nic="200 Gbit/s", latency="3 us", oversubscription=2)
    devices = np.arange(cluster.size)
    wires = Shards(cluster, devices[:-1], devices[-1:], MODEL, MODEL, MODEL).wires(1023)
    assert isinstance(wires, _core.SimGroupWires)
    assert wires.groups == 4


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("place", ["dedicated", "colocated"])
def test_what_is_sent_arrives(policy: Policy, place: str) -> None:
    server = shards(4, 2, push=6e7, pull=4e7) if place == "dedicated" else colocated(4)
    trained = train(server, policy, random_seconds(4, 6, seed=2), steps=6)
    cluster, log, m = server.cluster, trained.log, len(server.servers)
    total = (log["pushes"].sum() * server.push + log["pulls"].sum() * server.pull) * (1 if m == 2 else (m - 1) / m)
    half = len(cluster.bandwidth) // 2
    assert trained.link_bytes[:half].sum() == pytest.approx(total)
    assert trained.link_bytes[half:].sum() == pytest.approx(total)
    assert (log["pushes"] <= log["rounds"]).all()
    assert log["used"] + log["dropped"] == log["rounds"].sum()


def test_a_busy_server_applies_one_push_after_the_other() -> None:
    server = shards(3, nbytes=1e6, apply=1e-6)  # 1 s a push, 1 ms on the wire
    log = train(server, Sync(), np.zeros((3, 1)), steps=1).log
    assert log["makespan"] == pytest.approx(3 * 1e-3 + 3 * 1 + 3 * 1e-3)


# --- laws


@settings(max_examples=80, deadline=None)
@given(workers=st.integers(2, 8), steps=st.integers(1, 12), seed=st.integers(0, 10_000))
def test_nobody_is_later_under_more_staleness(workers: int, steps: int, seed: int) -> None:
    times = random_seconds(workers, steps, seed)
    runs = [free(policy, times, steps) for policy in (SSP(0), SSP(1), SSP(2), SSP(steps))]
    for stricter, looser in itertools.pairwise(runs):
        for worker in range(workers):
            assert (np.array(ends(looser, worker)) <= np.array(ends(stricter, worker)) + 1e-12).all()
    assert free(Sync(), times, steps).log["makespan"] == pytest.approx(runs[0].log["makespan"])
    bulk = times.max(axis=0).cumsum()
    assert [max(ends(runs[0], w)[k] for w in range(workers)) for k in range(steps)] == pytest.approx(bulk)
    assert runs[-1].log["finish"] == pytest.approx(free(Async(), times, steps).log["finish"])
    assert runs[-1].log["finish"] == pytest.approx(times.sum(axis=1))


@settings(max_examples=80, deadline=None)
@given(policy=st.sampled_from(POLICIES), workers=st.integers(3, 6), seed=st.integers(0, 10_000),
       replicas=st.integers(0, 1), late=st.booleans())  # fmt: skip
def test_every_second_is_somewhere(policy: Policy, workers: int, seed: int, replicas: int, late: bool) -> None:
    server = shards(workers, 2, latency=0.01, replicas=replicas, apply=1e-9)
    starts = np.random.default_rng(seed).random(workers) * 3 if late else None
    trained = train(server, policy, random_seconds(workers, 5, seed), steps=5, starts=starts)
    run = to_run(trained, samples=1, memory=0, notes=())
    assert run.categories.sum(axis=1) == pytest.approx(np.full(workers, run.makespan), rel=1e-12)
    assert (run.categories >= 0).all()
    assert run.staleness is not None
    assert run.staleness.sum() == trained.log["used"]
    assert (np.diff(run.step_ends) >= 0).all()
    assert run.applied is not None
    assert (run.applied.made - 1 - run.applied.read >= 0).all()
    if isinstance(policy, Async) and policy.max_staleness is not None:
        assert len(run.staleness) <= policy.max_staleness + 1
        assert policy.beyond == "drop" or run.dropped == 0


def test_the_horizon_ends_everything() -> None:
    trained = train(shards(3), Async(), np.full((3, 1), 0.35), steps=1000, horizon=2.0)
    run = to_run(trained, samples=2, memory=0, notes=())
    assert run.makespan == 2.0
    assert run.categories.sum(axis=1) == pytest.approx([2.0] * 3)
    assert run.samples == 2 * run.updates


def test_spans_are_what_a_worker_did() -> None:
    trained = train(shards(2), Sync(), np.array([[1.0], [2.0]]), steps=3, trace_steps=2)
    spans = to_run(trained, samples=1, memory=0, notes=()).spans
    mine = [(kind, float(end - begin)) for rank, kind, begin, end in
            zip(spans.rank, spans.kind, spans.begin, spans.end, strict=True) if rank == 0]  # fmt: skip
    assert mine[:4] == [("compute", 1.0), ("push", pytest.approx(0.1)), ("wait", pytest.approx(1.0)),
                        ("pull", pytest.approx(0.2))]  # fmt: skip
    assert set(spans.step.tolist()) == {0, 1}


# --- replicas and deaths


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_version_passes_along_the_chain_before_it_is_read(replicas: int) -> None:
    server = shards(2, 3, latency=1e-3, replicas=replicas)
    log = train(server, Sync(), np.zeros((2, 1)), steps=4).log
    message, hop = 2e-3, MODEL / 3 / RATE
    each = 2 * (MODEL / RATE + message) + replicas * (hop + message) + message  # the tail's answer
    assert log["makespan"] == pytest.approx(4 * each, rel=1e-9)


@pytest.mark.parametrize("dead", [0, 1, 2])
@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_a_dead_server_costs_its_takeover_and_loses_nothing(policy: Policy, dead: int) -> None:
    times = random_seconds(4, 10, seed=5)
    whole = train(shards(4, 3, replicas=1), policy, times, steps=10)
    broken = train(shards(4, 3, replicas=1, death=Death(dead, 2.5, 4.0)), policy, times, steps=10)
    assert broken.log["makespan"] > whole.log["makespan"]
    assert len(broken.log["finish"]) == 4
    run = to_run(broken, samples=1, memory=0, notes=())
    assert run.categories.sum(axis=1) == pytest.approx(np.full(4, run.makespan), rel=1e-12)
    assert 0 < run.categories[:, 5].max() <= 4.0 + 1e-9
    if not isinstance(policy, Sync):
        assert (broken.log["pushes"] == 10).all()


def test_a_dead_server_without_a_copy_ends_the_job() -> None:
    trained = train(shards(4, 3, death=Death(1, 2.5, 4.0)), Async(), np.ones((4, 1)), steps=10)
    assert trained.log["lost"]
    run = to_run(trained, samples=1, memory=0, notes=())
    assert run.makespan == 2.5
    assert "replicas=1" in run.notes[-1]
