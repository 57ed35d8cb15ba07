"""Simulated collectives: golden times, tiers that agree, conservation of bytes, and symmetric algorithms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyccl.algorithms import build, get_algorithm, known
from pyccl.cost import COSTS, Hockney, hierarchical_all_reduce_time, predict, schedule_bytes
from pyccl.errors import ConfigError
from pyccl.sim import Cluster, simulate_collective
from pyccl.sim.static import ring_progress

SCENARIO_A = {8: 9.423241, 64: 10.821646, 256: 11.715475, 1024: 14.818932}
SYMMETRIC = [(c, a) for c, a in known() if get_algorithm(c, a).symmetric]
every = pytest.mark.parametrize(("collective", "algorithm"), known())
SIZES = (1, 2, 3, 4, 5, 8, 12, 13, 16, 31, 33)


def switch(hosts: int, **settings: Any) -> Cluster:
    return Cluster.switch(hosts=hosts, **{"nic": "12.5 GB/s", "latency": "1 us", **settings})


def even_bytes(collective: str, size: int) -> int:
    return 0 if collective == "barrier" else size * size * 1024


# --- golden times and tiers


@pytest.mark.parametrize("fidelity", ["events", "static", "auto"])
@pytest.mark.parametrize("ranks", SCENARIO_A)
def test_scenario_a(ranks: int, fidelity: str) -> None:
    result = simulate_collective(switch(ranks), "all_reduce", "64 MiB", algorithm="ring", fidelity=fidelity)
    assert round(result.time * 1e3, 6) == SCENARIO_A[ranks]
    assert result.time == pytest.approx(2 * (ranks - 1) * ((64 << 20) / ranks / 12.5e9 + 2e-6), rel=1e-9)
    assert result.fidelity == ("events" if fidelity == "events" else "static")
    assert result.messages == (2 * (ranks - 1) * ranks if fidelity == "events" else 0)


@every
def test_events_take_what_the_closed_form_says(collective: str, algorithm: str) -> None:
    if (collective, algorithm) not in COSTS:
        pytest.skip("no closed form")
    for size in SIZES:
        if not get_algorithm(collective, algorithm).serves(size) or (algorithm, size) == ("scatter_all_gather", 2):
            continue  # two ranks have nothing to gather after the scatter, which the formula does not know
        nbytes, gamma = even_bytes(collective, size), 3e-11
        result = simulate_collective(
            switch(size), collective, nbytes, algorithm=algorithm, fidelity="events", gamma=gamma
        )
        want = predict(collective, algorithm, size, nbytes, Hockney(2e-6, 1 / 12.5e9, gamma))
        assert result.time == pytest.approx(want, rel=1e-9), size


@pytest.mark.parametrize("gamma", [0.0, 5e-11])
@pytest.mark.parametrize("extra", [0, 1, 3, 7])
@pytest.mark.parametrize(("collective", "algorithm"), SYMMETRIC)
def test_the_static_tier_agrees_with_events_rank_by_rank(
    collective: str, algorithm: str, extra: int, gamma: float
) -> None:
    methods = set()
    for size in SIZES:
        nbytes = even_bytes(collective, size) + (0 if collective == "barrier" else extra)
        options = {"algorithm": algorithm, "gamma": gamma}
        static = simulate_collective(switch(size), collective, nbytes, fidelity="auto", **options)
        events = simulate_collective(switch(size), collective, nbytes, fidelity="events", **options)
        assert static.finish == pytest.approx(events.finish, rel=1e-9)
        assert static.link_bytes == pytest.approx(events.link_bytes)
        methods.add(static.method)
    assert "closed form" in methods if extra == 0 else True


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(2, 20), scale=st.sampled_from([0.0, 1e-6, 1e-3]), seed=st.integers(0, 1000),
    collective=st.sampled_from(["all_reduce", "reduce_scatter", "all_gather"]),
)  # fmt: skip
def test_a_ring_with_any_starts(size: int, scale: float, seed: int, collective: str) -> None:
    starts = np.random.default_rng(seed).random(size) * scale
    options: dict[str, Any] = {"algorithm": "ring", "starts": starts}
    events = simulate_collective(switch(size), collective, size * 4096, fidelity="events", **options)
    static = simulate_collective(switch(size), collective, size * 4096, fidelity="static", **options)
    assert static.method in ("recurrence", "closed form")
    assert events.finish == pytest.approx(static.finish, rel=1e-9)
    assert events.time == pytest.approx(events.finish.max() - starts.min())
    steps = (size - 1) * (2 if collective == "all_reduce" else 1)
    want = ring_progress(starts, 4096 / 12.5e9 + 2e-6, steps)
    assert events.finish == pytest.approx(want, rel=1e-9)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30), st.integers(0, 70))
def test_ring_progress_is_the_maximum_over_a_sliding_window(starts: list[float], steps: int) -> None:
    n = len(starts)
    want = [max(starts[(r - j) % n] for j in range(min(steps, n - 1) + 1)) + steps * 0.5 for r in range(n)]
    assert ring_progress(np.array(starts), 0.5, steps).tolist() == pytest.approx(want)


@pytest.mark.parametrize(("nodes", "each"), [(2, 2), (4, 8), (3, 4), (8, 2), (1, 4)])
def test_hierarchical_shares_an_interface(nodes: int, each: int) -> None:
    cluster = switch(nodes, gpus_per_host=each, intra="100 GB/s", intra_latency="0.25 us")
    nbytes = nodes * each * 65536
    result = simulate_collective(
        cluster, "all_reduce", nbytes, algorithm="hierarchical", fidelity="events", gamma=1e-12
    )
    inside, between = Hockney(0.5e-6, 1e-11, 1e-12), Hockney(2e-6, 1 / 12.5e9)
    assert result.time == pytest.approx(
        hierarchical_all_reduce_time(nodes, each, nbytes, inside=inside, between=between), rel=1e-9
    )


def test_a_ring_is_as_fast_on_a_ring_of_hosts_as_on_a_switch() -> None:
    nbytes = 16 << 20
    ring = Cluster.ring(hosts=16, nic="1 GB/s", latency="4 us")
    flat = Cluster.switch(hosts=16, nic="1 GB/s", latency="2 us")
    times = [
        simulate_collective(c, "all_reduce", nbytes, algorithm="ring", fidelity="events").time for c in (ring, flat)
    ]
    assert times[0] == pytest.approx(times[1], rel=1e-9)


def test_contention_is_modelled() -> None:
    """All ranks of one leaf send to the other: an oversubscribed tree takes as much longer."""
    times = [
        simulate_collective(
            Cluster.fat_tree(hosts=8, nic="1 GB/s", latency=0.0, hosts_per_leaf=4, oversubscription=o),
            "all_to_all", 8 << 20, algorithm="pairwise", fidelity="events",
        ).time
        for o in (1, 4)
    ]  # fmt: skip
    assert times[1] > 2 * times[0]
    half = Cluster.switch(hosts=4, nic="1 GB/s", latency=0.0, duplex="half")
    full = Cluster.switch(hosts=4, nic="1 GB/s", latency=0.0)
    slow, fast = (
        simulate_collective(c, "all_reduce", "4 MB", algorithm="ring", fidelity="events").time for c in (half, full)
    )
    assert slow == pytest.approx(2 * fast, rel=1e-9)


# --- laws on any cluster


CLUSTERS = {
    "devices": lambda: switch(3, gpus_per_host=4),
    "torus": lambda: Cluster.torus((3, 4), nic="1 GB/s", latency="1 us"),
    "fat tree": lambda: Cluster.fat_tree(hosts=12, nic="1 GB/s", latency="1 us", hosts_per_leaf=4, oversubscription=3),
    "rails": lambda: Cluster.rail_optimised(3, nic="1 GB/s", latency="1 us", gpus_per_host=4),
    "dragonfly": lambda: Cluster.dragonfly(3, 2, 12, nic="1 GB/s", latency="1 us"),
    "wan": lambda: Cluster.wan("1 Gbit/s", "20 ms", sites=3, hosts=12, nic="10 Gbit/s", latency="10 us"),
}


@pytest.mark.parametrize("name", CLUSTERS)
@every
def test_bytes_are_conserved_and_bits_repeat_themselves(collective: str, algorithm: str, name: str) -> None:
    cluster = CLUSTERS[name]()
    if not get_algorithm(collective, algorithm).serves(cluster.size):
        pytest.skip("does not serve 12 ranks")
    nbytes = 0 if collective == "barrier" else 100_003
    starts = np.random.default_rng(5).random(12) * 1e-4
    one, two = (
        simulate_collective(
            cluster, collective, nbytes, algorithm=algorithm, fidelity="events", starts=starts, gamma=1e-10
        )
        for _ in range(2)
    )
    assert one.finish.tobytes() == two.finish.tobytes()
    assert (one.finish >= starts).all()
    schedule = build(collective, algorithm, 12, 0, cluster.host_of.tolist())
    counts = schedule.row.chunk_counts(nbytes, 12, schedule.nchunks)
    want = np.zeros(len(cluster.bandwidth))
    total = 0
    for rank, steps in enumerate(schedule.steps):
        for step in steps:
            for peer in step.peers if step.kind == 0 else ():
                want[list(cluster.route(rank, peer))] += counts[step.chunk]
                total += counts[step.chunk]
    assert one.link_bytes == pytest.approx(want)
    assert total == sum(schedule_bytes(schedule, counts))
    assert (one.link_utilisation <= 1 + 1e-9).all(), "no link carries more than it can"


# --- bad input


def test_limits_are_errors() -> None:
    with pytest.raises(ConfigError, match="more events than allowed"):
        simulate_collective(switch(8), "all_reduce", 64, algorithm="ring", fidelity="events", most_events=20)
    with pytest.raises(ConfigError, match="no static answer"):
        simulate_collective(switch(8), "all_reduce", 64, algorithm="hierarchical", fidelity="static")


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        ({"algorithm": "rings"}, "must be one of one_shot"),
        ({"collective": "allreduce"}, "collective must be one of"),
        ({"fidelity": "exact"}, "fidelity must be one of"),
        ({"root": 8}, r"root must be in \[0, 8\)"),
        ({"starts": [0.0]}, "starts must be 8"),
        ({"starts": [-1.0] * 8}, "at least 0"),
        ({"starts": [np.nan] * 8}, "finite"),
        ({"nbytes": "64"}, "has no unit"),
        ({"nbytes": 1.5}, "whole number"),
        ({"nbytes": None}, "must be given"),
        ({"collective": "reduce_scatter", "algorithm": "recursive_halving", "cluster": switch(3)}, "does not serve 3"),
    ],
)
def test_bad_arguments(given_: dict[str, Any], says: str) -> None:
    arguments = {"cluster": switch(8), "collective": "all_reduce", "nbytes": 64, "algorithm": "ring", **given_}
    with pytest.raises(ValueError, match=says):
        simulate_collective(**arguments)


def test_memory_stays_small_at_1024_ranks() -> None:
    import subprocess
    import sys

    code = """
import resource
from pyccl import sim
from pyccl.sim import Cluster
cluster = Cluster.switch(hosts=1024, nic="12.5 GB/s", latency="1 us")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sim.simulate_collective(cluster, "all_reduce", "64 MiB", algorithm="ring", fidelity="events")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert float(done.stdout) <= 20
