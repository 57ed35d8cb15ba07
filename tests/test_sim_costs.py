"""Costs of collectives in training, in groups and split by cause: all ways of finding them agree."""

from __future__ import annotations

import numpy as np
import pytest

from pyccl.algorithms import build
from pyccl.errors import ConfigError
from pyccl.sim import Cluster, simulate_collective
from pyccl.sim.costs import Network, network_of
from pyccl.sim.group_play import GroupPlay, _shifted

TREE = {"hosts": 8, "gpus_per_host": 4, "nic": "25 GB/s", "latency": "3 us", "oversubscription": 2, "hosts_per_leaf": 4}
CLUSTERS = {
    "switch": Cluster.switch(hosts=8, nic="12.5 GB/s", latency="1 us"),
    "tree": Cluster.fat_tree(**TREE),
    "rails": Cluster.rail_optimised(hosts=4, gpus_per_host=4, nic="25 GB/s", latency="2 us"),
    "host": Cluster.switch(hosts=1, nic="1 GB/s", latency="1 us", gpus_per_host=8),
    "half": Cluster.switch(hosts=8, nic="12.5 GB/s", latency="1 us", duplex="half"),
}
every_cluster = pytest.mark.parametrize("name", CLUSTERS)


def groups_of(cluster: Cluster, kind: str) -> np.ndarray:
    grid = np.arange(cluster.size, dtype=np.int64).reshape(-1, 4)
    return {"all": grid.reshape(1, -1), "near": grid, "across": np.ascontiguousarray(grid.T)}[kind]


@every_cluster
@pytest.mark.parametrize("algorithm", ["ring", "hierarchical", "rabenseifner", "two_shot", "tree"])
def test_all_ranks_pay_what_simulate_collective_says(name: str, algorithm: str) -> None:
    cluster = CLUSTERS[name]
    cost = Network(cluster).collective("all_reduce", algorithm, 1 << 20)
    result = simulate_collective(cluster, "all_reduce", 1 << 20, algorithm=algorithm, fidelity="events")
    assert cost.seconds == pytest.approx(result.time, rel=1e-9)
    assert cost.link_bytes == pytest.approx(result.link_bytes)
    play = GroupPlay(cluster, "all_reduce", algorithm, groups_of(cluster, "all"))
    assert cost.latency == pytest.approx(play.seconds(0, shared=False), rel=1e-9)
    assert cost.latency + cost.bandwidth == pytest.approx(play.seconds(1 << 20, shared=False), rel=1e-9)
    assert min(cost.latency, cost.bandwidth, cost.contention) >= 0


@every_cluster
@pytest.mark.parametrize("kind", ["all", "near", "across"])
@pytest.mark.parametrize(
    ("collective", "algorithm"),
    [("all_reduce", "ring"), ("reduce_scatter", "ring"), ("all_gather", "ring"), ("all_reduce", "rabenseifner")],
)
def test_groups_pay_what_their_messages_take_as_events(name: str, kind: str, collective: str, algorithm: str) -> None:
    cluster = CLUSTERS[name]
    groups = groups_of(cluster, kind)
    cost, play = (
        network_of(cluster).collective(collective, algorithm, 1 << 20, groups),
        GroupPlay(cluster, collective, algorithm, groups),
    )
    assert cost.latency == pytest.approx(play.seconds(0, shared=False), rel=1e-9)
    assert cost.latency + cost.bandwidth == pytest.approx(play.seconds(1 << 20, shared=False), rel=1e-9)
    assert cost.seconds == pytest.approx(play.seconds(1 << 20), rel=1e-9)
    assert cost.link_bytes == pytest.approx(play.link_bytes(1 << 20))


HALVES = {"switch": [3, 4], "fat_tree": [3, 6, 7, 8, 9, 10, 11, 13, 14, 18]}


@pytest.mark.parametrize(("topology", "hosts"), [(name, n) for name, several in HALVES.items() for n in several])
def test_stages_of_a_pipeline_exchange_gradients_at_once(
    topology: str, hosts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"oversubscription": 2, "hosts_per_leaf": 4} if topology == "fat_tree" else {}
    cluster = Cluster(topology, hosts=hosts, gpus_per_host=4, nic="25 GB/s", latency="3 us", **more)
    groups = np.arange(cluster.size, dtype=np.int64).reshape(2, -1)
    play = GroupPlay(cluster, "all_reduce", "ring", groups)
    nbytes = groups.shape[1] << 14
    alone, unshared, seconds = play.seconds(0, shared=False), play.seconds(nbytes, shared=False), play.seconds(nbytes)
    links = np.bincount(cluster.routes(groups.reshape(-1), np.roll(groups, -1, axis=1).reshape(-1))[1])
    if links.max() == 1 or (
        topology == "fat_tree" and hosts in (10, 14, 18)
    ):  # two rings' slowest messages share an upper link
        monkeypatch.setattr(GroupPlay, "seconds", None)  # no events
    cost = Network(cluster).collective("all_reduce", "ring", nbytes, groups)
    assert cost.latency == pytest.approx(alone, rel=1e-9)
    assert cost.latency + cost.bandwidth == pytest.approx(unshared, rel=1e-9)
    assert cost.seconds == pytest.approx(seconds, rel=1e-9)
    assert cost.link_bytes == pytest.approx(play.link_bytes(nbytes))


@pytest.mark.parametrize(("collective", "algorithm"), [("all_reduce", "ring"), ("all_gather", "bruck"),
                                                       ("all_reduce", "two_shot")])  # fmt: skip
def test_a_symmetric_schedule_is_written_once(collective: str, algorithm: str) -> None:
    groups = np.arange(12, dtype=np.int64).reshape(2, 6)
    tables, nchunks = GroupPlay(CLUSTERS["tree"], collective, algorithm, groups)._tables
    schedule = build(collective, algorithm, 6)
    assert nchunks == schedule.nchunks
    assert [table.tolist() for table in tables[:6]] == [table.tolist() for table in schedule.tables]
    assert [table.tolist() for table in tables[6:]] == [_shifted(table, 6).tolist() for table in schedule.tables]


def test_what_is_shared_costs_contention_and_nothing_else() -> None:
    cluster = Cluster.switch(hosts=2, nic="1 GB/s", latency="10 us", gpus_per_host=2)
    across = np.array([[0, 2], [1, 3]])
    cost = Network(cluster).collective("all_reduce", "ring", 2_000_000, across)
    # two steps of 1 MB a rank; the two of a host share its interface
    intra = 2 * 0.5e-6  # a device's link out, and in: not on the way between hosts
    assert cost.latency == pytest.approx(2 * 20e-6, rel=intra)
    assert cost.bandwidth == pytest.approx(2e-3)
    assert cost.contention == pytest.approx(2e-3)
    near = Network(cluster).collective("all_reduce", "ring", 2_000_000, np.array([[0, 1], [2, 3]]))
    assert near.contention == pytest.approx(0, abs=1e-15)


def test_bytes_are_padded_to_equal_chunks() -> None:
    network = Network(CLUSTERS["switch"])
    assert network.collective("all_reduce", "ring", 8001).seconds == pytest.approx(14 * (2e-6 + 1001 / 12.5e9))


def test_messages_that_start_together_share_the_busiest_link() -> None:
    network = Network(CLUSTERS["tree"])
    source, destination = np.arange(4), np.arange(4) + 4
    cost = network.messages(source, destination, 10**6)
    assert cost.latency == pytest.approx(6e-6)  # one leaf: two interfaces' links
    assert (cost.bandwidth, cost.contention) == (pytest.approx(1e6 / 25e9), pytest.approx(3e6 / 25e9))
    assert cost.link_bytes.sum() == pytest.approx(4 * 2 * 10**6)
    alone = Network(CLUSTERS["switch"]).messages(np.array([0]), np.array([3]), 10**6)
    assert alone.seconds == pytest.approx(2e-6 + 1e6 / 12.5e9)


def test_costs_are_found_once() -> None:
    network = network_of(CLUSTERS["tree"])
    assert network is network_of(CLUSTERS["tree"])
    assert network.collective("all_reduce", "tree", 4096) is network.collective("all_reduce", "tree", 4096)
    assert network is not network_of(CLUSTERS["rails"])


def test_what_would_take_all_memory_is_refused() -> None:
    cluster = Cluster.switch(hosts=8192, nic="1 GB/s", latency="1 us")
    with pytest.raises(ConfigError, match=r"67100672 pairs that exchange messages, more than .*choose another"):
        Network(cluster).collective("all_reduce", "two_shot", 1 << 20)


def test_one_rank_pays_nothing() -> None:
    assert Network(CLUSTERS["tree"]).collective("all_reduce", "ring", 1 << 20, np.arange(32)[:, None]).seconds == 0


def test_an_algorithm_that_does_not_serve_is_refused() -> None:
    cluster = Cluster.switch(hosts=6, nic="1 GB/s", latency="1 us", gpus_per_host=1, duplex="half")
    with pytest.raises(ConfigError, match="does not serve 6"):
        Network(cluster).collective("reduce_scatter", "recursive_halving", 600)
    with pytest.raises(ConfigError, match="must be one of"):
        Network(cluster).collective("all_reduce", "rong", 600)
