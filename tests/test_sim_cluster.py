"""Clusters: the way of every message, TOML both ways, and bad input."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyccl.errors import ConfigError
from pyccl.sim import Cluster

NIC: dict[str, Any] = {"nic": "10 GB/s", "latency": "1 us"}
STAR = [{"ends": [name, "s"], "bandwidth": "1 GB/s", "latency": "2 us"} for name in ("a", "b", "c")]
CLUSTERS: dict[str, Callable[[], Cluster]] = {
    "switch": lambda: Cluster.switch(hosts=5, **NIC),
    "switch, devices": lambda: Cluster.switch(hosts=3, gpus_per_host=4, nics_per_host=2, **NIC),
    "half duplex": lambda: Cluster.switch(hosts=3, gpus_per_host=2, duplex="half", **NIC),
    "bound interfaces": lambda: Cluster.switch(hosts=3, nics_per_host=2, **NIC),
    "ring": lambda: Cluster.ring(hosts=6, **NIC),
    "ring, half duplex": lambda: Cluster.ring(hosts=5, duplex="half", **NIC),
    "torus": lambda: Cluster.torus((3, 4, 2), **NIC),
    "torus, devices": lambda: Cluster.torus((2, 3), gpus_per_host=2, **NIC),
    "fat tree": lambda: Cluster.fat_tree(hosts=10, hosts_per_leaf=4, oversubscription=2, **NIC),
    "fat tree, half duplex": lambda: Cluster.fat_tree(hosts=10, hosts_per_leaf=4, duplex="half", **NIC),
    "rails": lambda: Cluster.rail_optimised(3, gpus_per_host=4, **NIC),
    "dragonfly": lambda: Cluster.dragonfly(3, 4, 24, **NIC),
    "wan": lambda: Cluster.wan("1 Gbit/s", "20 ms", sites=3, hosts=7, **NIC),
    "graph": lambda: Cluster.graph(["a", "b", "c"], STAR),
    "two kinds": lambda: Cluster.switch(
        nodes=[
            {"name": "fast", "hosts": 2, "nic": "20 GB/s", "gpus_per_host": 4, "price": "32 USD/h"},
            {"name": "slow", "hosts": 3, "nic": "5 GB/s", "price": "4 USD/h"},
        ],
        latency="1 us",
    ),
}
every = pytest.mark.parametrize("name", CLUSTERS)


def pairs(cluster: Cluster) -> tuple[np.ndarray, np.ndarray]:
    grid = np.indices((cluster.size, cluster.size)).reshape(2, -1)
    return grid[0], grid[1]


@every
def test_every_route_is_a_path_of_known_links(name: str) -> None:
    cluster = CLUSTERS[name]()
    sources, destinations = pairs(cluster)
    ends, links = cluster.routes(sources, destinations)
    assert len(cluster.bandwidth) == len(cluster.latency)
    assert (cluster.bandwidth > 0).all()
    names = [cluster.link_name(link) for link in range(len(cluster.bandwidth))]
    assert len(set(names)) == len(names)
    for i, (a, b) in enumerate(zip(sources.tolist(), destinations.tolist(), strict=True)):
        route = links[ends[i - 1] if i else 0 : ends[i]].tolist()
        assert len(set(route)) == len(route), "a link is crossed once"
        assert (len(route) == 0) == (a == b)
        assert tuple(route) == cluster.route(a, b)


@every
def test_toml_is_read_back(name: str, tmp_path: Path) -> None:
    cluster = CLUSTERS[name]()
    path = tmp_path / "cluster.toml"
    path.write_text(cluster.to_toml())
    again = Cluster.from_toml(path)
    assert again == cluster
    assert np.array_equal(again.bandwidth, cluster.bandwidth)
    assert again.price == cluster.price


@every
def test_uniform_is_what_the_links_say(name: str) -> None:
    cluster = CLUSTERS[name]()
    if cluster.uniform is None:
        return
    for a, b in zip(*pairs(cluster), strict=True):
        if a != b:
            route = list(cluster.route(int(a), int(b)))
            assert cluster.uniform == (cluster.latency[route].sum(), cluster.bandwidth[route].min())


def names(cluster: Cluster, a: int, b: int) -> list[str]:
    return [cluster.link_name(link) for link in cluster.route(a, b)]


def test_routes_by_hand() -> None:
    assert names(CLUSTERS["switch, devices"](), 1, 7) == ["host 0 nic 0 out", "host 1 nic 1 in"]
    assert names(CLUSTERS["switch, devices"](), 1, 2) == ["host 0 device 1 out", "host 0 device 2 in"]
    assert names(CLUSTERS["ring"](), 5, 1) == ["host 5 dimension 0 up", "host 0 dimension 0 up"]
    assert names(CLUSTERS["ring"](), 1, 5) == ["host 1 dimension 0 down", "host 0 dimension 0 down"]
    assert names(CLUSTERS["ring, half duplex"](), 1, 0) == names(CLUSTERS["ring, half duplex"](), 0, 1)
    assert names(CLUSTERS["fat tree"](), 0, 9) == [
        "host 0 nic 0 out", "leaf 0 to spine 1", "spine 1 to leaf 2", "host 9 nic 0 in",
    ]  # fmt: skip
    assert names(CLUSTERS["rails"](), 0, 6) == [
        "host 0 device 0 out", "host 0 device 2 in", "host 0 nic 2 out", "host 1 nic 2 in",
    ]  # fmt: skip
    assert names(CLUSTERS["wan"](), 0, 6) == [
        "host 0 nic 0 out", "site 0 to wide area", "wide area to site 2", "host 6 nic 0 in",
    ]  # fmt: skip
    assert names(CLUSTERS["graph"](), 0, 2) == ["a to s", "s to c"]


def test_oversubscription_and_bound_interfaces() -> None:
    tree = CLUSTERS["fat tree"]()
    up = [rate for i, rate in enumerate(tree.bandwidth) if tree.link_name(i).startswith("leaf 0 to")]
    assert sum(up) == pytest.approx(4 * 10e9 / 2)
    assert CLUSTERS["bound interfaces"]().uniform == (2e-6, 20e9)
    assert CLUSTERS["two kinds"]().price * 3600 == pytest.approx(2 * 32 + 3 * 4)


def test_a_cluster_of_100_000_hosts_is_made_at_once() -> None:
    cluster = Cluster.switch(hosts=100_000, **NIC)
    assert cluster.size == 100_000
    assert "_places" not in vars(cluster), "links are numbered only when somebody asks for them"


@pytest.mark.parametrize(
    ("topology", "given", "says"),
    [
        ("switch", {"hosts": 3, **NIC, "latncy": "1 us"}, "did you mean 'latency'"),
        ("switsh", {}, "did you mean 'switch'"),
        ("switch", {"hosts": 3, "nic": "0 GB/s", "latency": "1 us"}, "nic must be above 0"),
        ("switch", {"hosts": 3, "nic": "-1 GB/s", "latency": "1 us"}, "at least 0"),
        ("switch", {"hosts": 3, "nic": "10", "latency": "1 us"}, "has no unit"),
        ("switch", {"hosts": 0, **NIC}, "at least 1"),
        ("switch", {"hosts": 1 << 30, **NIC}, "at most"),
        ("switch", {"hosts": True, **NIC}, "whole number"),
        ("switch", {**NIC}, "needs hosts"),
        ("switch", {"hosts": 3, **NIC, "duplex": "both"}, "'full' or 'half'"),
        ("switch", {"hosts": 3, **NIC, "gpus_per_host": 4, "nics_per_host": 3}, "evenly"),
        ("switch", {"hosts": 3, "nodes": [{"hosts": 1}], **NIC}, "stands in each of nodes"),
        ("switch", {"nodes": [{"host": 1}], **NIC}, "did you mean 'hosts'"),
        ("torus", {"dims": [2, 3], "hosts": 7, **NIC}, "6 hosts, not 7"),
        ("dragonfly", {"hosts": 4, "groups": 2, **NIC}, "needs routers"),
        ("wan", {"hosts": 4, "sites": 2, **NIC}, "needs uplink"),
        ("fat_tree", {"hosts": 4, **NIC, "oversubscription": 0.5, "hosts_per_leaf": 2}, "at least 1"),
        ("rail_optimised", {"hosts": 4, **NIC, "gpus_per_host": 4}, "an interface for every device"),
        ("graph", {"hosts": ["a", "b", "d"], "links": STAR}, "no way from host a to host d"),
        ("graph", {"hosts": ["a", "a"], "links": STAR}, "same name"),
        ("graph", {"hosts": ["a"], "links": [{"ends": ["a"]}]}, "two ends"),
    ],
)
def test_bad_settings(topology: str, given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        Cluster(topology, **given)


GOOD = '[cluster]\ntopology = "switch"\nhosts = 4\nnic = "1 GB/s"\nlatency = "1 us"\n'


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"1 GB/s"', "1e9", ":4: nic = 1000000000.0 has no unit; write for example '200 Gbit/s'"),
        ('"1 us"', '"1 parsec"', ":5: latency: 'parsec' is no unit of a time"),
        ("hosts", "hots", ":3: a switch cluster has no 'hots'; did you mean 'hosts'?"),
        ('"switch"', '"swich"', ":2: pyccl.sim has no 'swich'; did you mean 'switch'?"),
        ("[cluster]", "[claster]", "no section [cluster]"),
        ('"switch"', '"switch', "not TOML"),
        ("hosts = 4\n", "", ":1: a switch cluster needs hosts"),
    ],
)
def test_bad_files(old: str, new: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(ConfigError, match=re.escape(says)) as error:
        Cluster.from_toml(path)
    assert str(error.value).startswith(str(path))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        Cluster.from_toml(tmp_path / "none.toml")


def test_ranks_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"\[0, 5\)"):
        CLUSTERS["switch"]().route(0, 5)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_files_are_config_errors(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = bytearray(
        data.draw(st.sampled_from([CLUSTERS[n]().to_toml() for n in ("graph", "two kinds", "wan")])).encode()
    )
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "c.toml"
    path.write_bytes(bytes(text[: data.draw(st.integers(0, len(text)))]))
    with contextlib.suppress(ConfigError):
        Cluster.from_toml(path)
