"""Rings and the hierarchical all_reduce on clusters of every kind: what is found without events is what events find."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyccl.errors import ConfigError
from pyccl.sim import Cluster, simulate_collective
from pyccl.sim.levels import around

LINK: dict[str, Any] = {"nic": "200 Gbit/s", "latency": "3 us"}
CLUSTERS = {
    "shared interfaces": Cluster.switch(hosts=3, gpus_per_host=4, nics_per_host=2, **LINK),
    "one interface": Cluster.switch(hosts=4, gpus_per_host=4, **LINK),
    "fat tree": Cluster.fat_tree(hosts=8, gpus_per_host=4, hosts_per_leaf=4, oversubscription=2, **LINK),
    "thin leaves": Cluster.fat_tree(hosts=8, gpus_per_host=2, hosts_per_leaf=2, **LINK),
    "rails": Cluster.rail_optimised(hosts=4, gpus_per_host=4, **LINK),
    "ring": Cluster.ring(hosts=6, gpus_per_host=2, **LINK),
    "torus": Cluster.torus(dims=[3, 3], gpus_per_host=2, **LINK),
    "dragonfly": Cluster.dragonfly(groups=3, routers=2, hosts=2, gpus_per_host=2, **LINK),
    "wide area": Cluster.wan("1 Gbit/s", "10 ms", sites=3, hosts=6, gpus_per_host=2, **LINK),
    "unequal": Cluster.switch(
        latency="1 us",
        nodes=[
            {"hosts": 2, "nic": "200 Gbit/s", "gpus_per_host": 2},
            {"hosts": 2, "nic": "50 Gbit/s", "gpus_per_host": 2},
        ],
    ),
}
ALGORITHMS = [
    ("all_reduce", "ring"),
    ("reduce_scatter", "ring"),
    ("all_gather", "ring"),
    ("all_reduce", "hierarchical"),
]


@pytest.mark.parametrize(("collective", "algorithm"), ALGORITHMS)
@pytest.mark.parametrize("name", CLUSTERS)
def test_static_is_what_events_find(name: str, collective: str, algorithm: str) -> None:
    cluster = CLUSTERS[name]
    nbytes = cluster.size << 14
    static, events = (
        simulate_collective(cluster, collective, nbytes, algorithm=algorithm, fidelity=fidelity)
        for fidelity in ("static", "events")
    )
    assert static.finish == pytest.approx(events.finish, rel=1e-9)
    assert static.link_bytes == pytest.approx(events.link_bytes, rel=1e-9)


@pytest.mark.parametrize("name", ["shared interfaces", "one interface", "rails", "ring", "dragonfly"])
def test_combining_takes_time_where_hosts_are_alike(name: str) -> None:
    cluster = CLUSTERS[name]
    options: dict[str, Any] = {"algorithm": "hierarchical", "gamma": 1e-11}
    static, events = (
        simulate_collective(cluster, "all_reduce", cluster.size << 14, fidelity=fidelity, **options)
        for fidelity in ("static", "events")
    )
    assert static.finish == pytest.approx(events.finish, rel=1e-9)


@pytest.mark.parametrize(
    ("cluster", "extra"),
    [(Cluster.switch(hosts=4, gpus_per_host=2, duplex="half", **LINK), 0), (CLUSTERS["one interface"], 1)],
)
def test_what_changes_under_way_needs_events(cluster: Cluster, extra: int) -> None:
    """In half duplex one host's messages share a link with the next one's; chunks that differ end at other times."""
    with pytest.raises(ConfigError, match="no static answer"):
        simulate_collective(
            cluster, "all_reduce", (cluster.size << 14) + extra, algorithm="hierarchical", fidelity="static"
        )


@settings(max_examples=100, deadline=None)
@given(times=st.lists(st.sampled_from([1.0, 2.0, 5.0, 9.0]), min_size=1, max_size=9), steps=st.integers(1, 20))
def test_around_is_the_recurrence(times: list[float], steps: int) -> None:
    end = np.zeros(len(times))
    for _ in range(steps):
        end = np.maximum(end, np.roll(end, 1)) + times
    assert around(np.array(times), steps).tolist() == end.tolist()


def test_sixteen_thousand_devices_need_no_events() -> None:
    cluster = Cluster.fat_tree(hosts=2048, gpus_per_host=8, hosts_per_leaf=16, **LINK)
    result = simulate_collective(cluster, "all_reduce", 16384 << 10, algorithm="hierarchical")
    assert (result.fidelity, result.messages) == ("static", 0)
    assert result.link_bytes.sum() > 0
