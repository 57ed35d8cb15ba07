"""Strategies with a parameter server: their texts, where their shards are, and federations of many clients."""

from __future__ import annotations

import numpy as np
import pytest

from pyccl.errors import ConfigError
from pyccl.policy import SSP, Async, BoundedDelay, KAsync, Policy, SoftSync, Sync
from pyccl.sim import Cluster
from pyccl.sim.embedding import Embedding
from pyccl.sim.job import Job
from pyccl.sim.model import Layer, Model
from pyccl.sim.simulate import simulate
from pyccl.sim.strategies import parse
from pyccl.sim.strategies.server import ParameterServer
from pyccl.sim.workers import Workers

MODEL = Model("one layer", [Layer("all", 0.1, 0.2, 100_000_000)], batch=32)


def switch(hosts: int) -> Cluster:
    return Cluster.switch(hosts=hosts, nic="12.5 GB/s", latency="1 us")


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("ps_sync", Sync()),
        ("ps_async", Async()),
        ("async:4", Async(4)),
        ("async:4(beyond=wait)", Async(4, "wait")),
        ("ps_async(weighting=inverse)", Async(weighting="inverse")),
        ("ssp:3", SSP(3)),
        ("backup:4", Sync(4)),
        ("k_async:2", KAsync(2)),
        ("bounded:1", BoundedDelay(1)),
        ("softsync:2", SoftSync(2)),
    ],
)
def test_a_name_is_a_policy(text: str, policy: Policy) -> None:
    strategy = parse(text)
    assert isinstance(strategy, ParameterServer)
    assert strategy.consistency == policy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ssp", "needs its number"),
        ("ssp:x", "whole number"),
        ("ssp:-1", "staleness"),
        ("ssp:3(beyond=wait)", "async:MAX alone"),
        ("ps_sync(servers=0)", "servers must be at least 1"),
        ("ps_sync(servers=8)", "leave no worker"),
        ("ps_sync(replicas=1)", "at least 2 servers"),
        ("ps_sync(servers=2,dead=2,dies='1 s')", "cannot die"),
        ("backup:7", "needs more than 7 workers"),
        ("k_async:9", "at least 9 workers"),
        ("fedavg:8", "there are 7 clients"),
        ("fedavg:3(sampled=2)", "of 2 clients"),
        ("fedbuff:2(local_steps=0)", "local_steps"),
    ],
)
def test_bad_options(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        simulate(switch(8), MODEL, text, steps=2)


def test_shards_lie_on_the_last_hosts_or_beside_the_workers() -> None:
    job = Job(switch(8), MODEL, None)
    apart = ParameterServer(servers=3).shards(job)
    assert (apart.workers.tolist(), apart.servers.tolist()) == ([0, 1, 2, 3, 4], [5, 6, 7])
    cluster = Cluster.switch(hosts=3, gpus_per_host=2, nic="1 GB/s", latency="1 us")
    for servers, devices in ((1, [5]), (2, [3, 5]), (3, [1, 3, 5]), (4, [1, 3, 4, 5])):
        assert ParameterServer(servers=servers).shards(Job(cluster, MODEL, None)).servers.tolist() == devices
    beside = ParameterServer(colocated=True).shards(job)
    assert beside.workers.tolist() == beside.servers.tolist() == list(range(8))


def test_a_step_is_the_formula() -> None:
    """Eight workers, two servers: 4 M / B each way, and two latencies of two links."""
    result = simulate(switch(10), MODEL, "ps_sync(servers=2)", steps=5)
    assert result.step_time == pytest.approx(0.3 + 2 * (4 * 0.008 + 2e-6), rel=1e-9)
    assert result.throughput == pytest.approx(8 * 32 / result.step_time)
    assert result.breakdown == pytest.approx(
        {"compute": 1.5, "straggler": 0, "latency": 2e-5, "bandwidth": 0.08, "contention": 0.24, "recovery": 0}
    )
    assert result.run.memory == 2 * 1e8  # a shard has half of: parameters, gradient sum, two moments
    assert simulate(switch(10), MODEL, "ps_sync(servers=2,replicas=1)", steps=1).run.memory == 4 * 1e8


def test_tables_move_the_rows_that_a_batch_touches() -> None:
    tables = Model(
        "tables", [Layer("all", 0.1, 0.2, 1000)], batch=32, embeddings=[Embedding(rows=10_000, dim=64, ids=5)]
    )
    shards = ParameterServer().shards(Job(switch(4), tables, None))
    assert shards.push == shards.pull == 1000 + tables.sparse_bytes
    assert tables.sparse_bytes < 32 * 5 * 64 * 4


def test_pulls_of_few_rows() -> None:
    whole, few = (simulate(switch(5), MODEL, f"ps_async{o}", steps=5).makespan for o in ("", "(pull='1 MB')"))
    assert few == pytest.approx(whole - 5 * 4 * (0.008 - 0.00008))


def test_the_same_seed_gives_the_same_bits() -> None:
    first, second = (simulate(switch(9), MODEL, "fedbuff:2(concurrency=4)", steps=20, seed=7).run for _ in range(2))
    assert first.applied is not None
    assert second.applied is not None
    assert first.categories.tobytes() == second.categories.tobytes()
    assert first.applied.worker.tolist() == second.applied.worker.tolist()
    other = simulate(switch(9), MODEL, "fedbuff:2(concurrency=4)", steps=20, seed=8).run.applied
    assert other is not None
    assert other.worker.tolist() != first.applied.worker.tolist()


# --- federations


def test_a_round_of_clients() -> None:
    """Download, two local steps, upload: nobody fetches the last model."""
    result = simulate(switch(9), MODEL, "fedavg:4(local_steps=2)", steps=3)
    assert result.step_time == pytest.approx(2 * (4 * 0.008 + 2e-6) + 2 * 0.3)
    assert result.run.samples == 3 * 4 * 2 * 32
    applied = result.run.applied
    assert applied is not None
    assert len(set(applied.worker[:4].tolist())) == 4
    assert applied.made.tolist() == [1] * 4 + [2] * 4 + [3] * 4


def test_a_round_is_cut_when_enough_have_reported() -> None:
    run = simulate(switch(40), MODEL, "fedavg:4(sampled=6)", steps=10).run
    assert run.staleness is not None
    assert run.staleness.tolist() == [40]
    assert run.dropped == 10 * 2
    assert run.categories.sum(axis=1) == pytest.approx(np.full(39, run.makespan))


def test_every_client_takes_part() -> None:
    run = simulate(switch(30), MODEL, "fedbuff:5(concurrency=10)", steps=200).run
    assert run.applied is not None
    counts = np.bincount(run.applied.worker, minlength=29)
    assert counts.min() > 1000 / 29 / 2
    assert counts.max() < 1000 / 29 * 2


@pytest.mark.parametrize("text", ["fedavg:100(sampled=130)", "fedbuff:10(concurrency=100)"])
def test_ten_thousand_clients_over_a_wide_area(text: str) -> None:
    cluster = Cluster.wan(
        uplink="10 Gbit/s", uplink_latency="50 ms", latency="1 ms",
        nodes=[*({"name": f"site {i}", "hosts": 100, "nic": "50 Mbit/s"} for i in range(100)),
               {"name": "server", "hosts": 1, "nic": "10 Gbit/s"}],
    )  # fmt: skip
    run = simulate(cluster, MODEL, text, steps=100).run
    assert run.updates == 100
    assert run.categories.shape == (10_000, 6)
    assert run.categories.sum(axis=1) == pytest.approx(np.full(10_000, run.makespan))


# --- workers


def test_workers_draw_what_workers_says() -> None:
    """On a network that costs nothing, an asynchronous worker's end is the sum of its draws, bit for bit."""
    workers = Workers(compute="lognormal(cv=0.3)", slow={1: 2.0}, slowness="markov(slow=3, enter=0.2, leave=0.5)")
    idle = Model("idle", [Layer("all", 0.1, 0.2, 0)])
    run = simulate(Cluster.switch(hosts=5, nic="1 GB/s", latency="0 s"), idle, "ps_async", workers=workers, steps=50,
                   seed=3).run  # fmt: skip
    times = workers.times(5, 50, idle.seconds, seed=3)[:4]
    assert run.applied is not None
    for worker in range(4):
        ends = run.applied.time[run.applied.worker == worker]
        assert ends.tolist() == times[worker].cumsum().tolist()


def seen(availability: str | None, period: float) -> list[set[int]]:
    """Return the clients whose reports came in each period."""
    run = simulate(
        switch(201), MODEL, "fedbuff:5(concurrency=5,retry='10 s')", steps=1000,
        workers=Workers(availability=availability),
    ).run  # fmt: skip
    assert run.applied is not None
    periods = (run.applied.time // period).astype(int)
    return [set(run.applied.worker[periods == k].tolist()) for k in range(periods.max() + 1)]


def test_clients_come_and_go_with_the_day() -> None:
    assert seen(None, 1e9) == [set(range(200))]
    (few,) = seen("diurnal(mean=0.2, swing=0, period=1000 h)", 1e9)
    assert 20 <= len(few) <= 60
    days = seen("diurnal(mean=0.2, swing=0.1, period=50 s)", 50)
    assert max(map(len, days)) <= 90
    assert len(set().union(*days)) > 150  # others each day


def test_a_federation_waits_for_somebody_to_come() -> None:
    rare = "diurnal(mean=0.002, swing=0, period=1000 s)"
    run = simulate(switch(201), MODEL, "fedbuff:1(concurrency=1)", steps=200, workers=Workers(availability=rare)).run
    always = simulate(switch(201), MODEL, "fedbuff:1(concurrency=1)", steps=200).run
    assert run.makespan > 2 * always.makespan
    assert run.updates == 200


def test_asynchronous_workers_are_counted_while_all_work() -> None:
    """Every worker takes as many steps; its throughput is the sum of their rates, not that of the slowest's tail."""
    model = Model("small", [Layer("all", 1 / 3, 2 / 3, 8)], batch=1)
    cluster = Cluster.switch(hosts=5, nic="10 GB/s", latency="0 s")
    rates = {
        name: simulate(cluster, model, name, workers=Workers(slow={3: 2.0}), steps=50).throughput
        for name in ("ps_async", "ssp:3", "ps_sync")
    }
    assert rates["ps_async"] == pytest.approx(3.5, rel=1e-3)
    assert rates["ps_sync"] == pytest.approx(2.0, rel=1e-3)
    assert rates["ps_sync"] <= rates["ssp:3"] <= 1.1 * rates["ps_sync"]  # absorbs jitter, no persistent straggler


def test_a_seed_has_64_bits() -> None:
    with pytest.raises(ConfigError, match="seed must be a whole number"):
        simulate(switch(2), MODEL, "ps_sync", seed=-1)
