"""Rings of hosts with unequal links: right for any nodes and rates, and as fast as the formula says."""

from __future__ import annotations

import random

import pytest

from pyccl import config
from pyccl.algorithms import build
from pyccl.algorithms.rings import Ring, arrange
from pyccl.cost import schedule_bytes
from pyccl.errors import ConfigError
from pyccl.schedule import verify


@pytest.mark.parametrize("seed", range(40))
def test_any_nodes_and_rates_give_a_right_all_reduce(seed: int) -> None:
    draw = random.Random(seed)
    size = draw.randrange(1, 12)
    labels = [draw.randrange(4) for _ in range(size)]
    nodes = [list(dict.fromkeys(labels)).index(label) for label in labels]
    links = [draw.choice([0.3, 1, 2, 4, 4, 4]) for _ in set(nodes)]
    verify(build("all_reduce", "hierarchical", size, nodes=nodes, links=links))


@pytest.mark.parametrize("hosts", range(1, 9))
def test_equal_links_make_one_ring(hosts: int) -> None:
    assert arrange([3.0] * hosts) == Ring(tuple(range(hosts)), ())


@pytest.mark.parametrize("seed", range(40))
def test_no_ring_of_all_is_faster_and_no_faster_host_stands_aside(seed: int) -> None:
    draw = random.Random(seed)
    rates = [draw.choice([1, 2, 3, 10]) for _ in range(draw.randrange(2, 9))]
    ring, n = arrange(rates), len(rates)
    assert ring.time(rates) <= 2 * (n - 1) / n / min(rates) + 1e-12
    assert sorted([*ring.members, *(aside for aside, _ in ring.proxies)]) == list(range(n))
    slowest = min(rates[host] for host in ring.members)
    assert all(rates[aside] <= slowest for aside, _ in ring.proxies)


def test_a_slow_host_sends_the_vector_once() -> None:
    plan = build("all_reduce", "hierarchical", 4, nodes=range(4), links=[4, 1, 4, 4])
    sent = schedule_bytes(plan, [100] * plan.nchunks)
    assert sent[1] == 300
    assert max(sent) == 700  # of the host that speaks for it: 2 (k-1)/k + 1 vectors
    assert arrange([4, 1, 4, 4]).time([4, 1, 4, 4]) == 1.0


@pytest.mark.parametrize("text", ["host1=50 Mbit/s", "*=fast", "*=0 Gbit/s", "*=1 parsec", "*"])
def test_bad_rates_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="PYCCL_LINKS"):
        config.load({"PYCCL_LINKS": text})
    assert config.load({"PYCCL_LINKS": "*=2 Gbit/s,a=8 Mbit/s"}).links == {"*": 2.5e8, "a": 1e6}
