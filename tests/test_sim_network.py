"""Max-min fairness: rates are feasible, and no flow can grow but at the cost of a slower one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyccl import _core

CAPACITY = st.lists(st.floats(1, 1000), min_size=1, max_size=8)


def check(capacity: list[float], flows: dict[int, tuple[list[int], float]], network: _core.SimNetwork) -> None:
    rates = {flow: network.rate(flow) for flow in flows}
    used = [sum(rates[f] for f, (links, _) in flows.items() if link in links) for link in range(len(capacity))]
    for link, total in enumerate(used):
        assert total <= capacity[link] * (1 + 1e-9)
    for flow, (links, limit) in flows.items():
        assert rates[flow] > 0
        assert rates[flow] <= limit
        held = rates[flow] >= limit * (1 - 1e-9)
        for link in links:
            full = used[link] >= capacity[link] * (1 - 1e-9)
            others = [rates[f] for f, (theirs, _) in flows.items() if link in theirs]
            held = held or (full and rates[flow] >= max(others) * (1 - 1e-9))
        assert held, f"flow {flow} could grow without hurting a slower one: {rates}"


@settings(max_examples=300, deadline=None)
@given(capacity=CAPACITY, data=st.data())
def test_rates_are_max_min_fair_whatever_comes_and_goes(capacity: list[float], data: st.DataObject) -> None:
    network = _core.SimNetwork(capacity, 12)
    flows: dict[int, tuple[list[int], float]] = {}
    for step in range(data.draw(st.integers(1, 8))):
        for flow in data.draw(st.sets(st.integers(0, 11), min_size=1, max_size=6)):
            if flow in flows:
                network.stop(flow)
                del flows[flow]
            else:
                links = sorted(data.draw(st.sets(st.integers(0, len(capacity) - 1), min_size=1)))
                flows[flow] = links, data.draw(st.sampled_from([3.0, 50.0, 1e9]))
                network.start(flow, links, 100.0, flows[flow][1], float(step))
        network.settle(float(step))
        check(capacity, flows, network)


def test_ends_by_hand() -> None:
    """Two flows share a link; when one has gone, the other takes all of it."""
    network = _core.SimNetwork([10.0, 100.0], 2)
    network.start(0, [0], 10.0, 1e9, 0.0)
    network.start(1, [0, 1], 30.0, 1e9, 0.0)
    assert network.settle(0.0) == {0: 2.0, 1: 6.0}
    network.stop(0)
    assert network.settle(2.0) == {1: 4.0}


def test_only_what_is_connected_is_looked_at() -> None:
    network = _core.SimNetwork([10.0, 10.0], 3)
    network.start(0, [0], 10.0, 1e9, 0.0)
    network.start(1, [1], 10.0, 1e9, 0.0)
    assert network.settle(0.0) == {0: 1.0, 1: 1.0}
    network.start(2, [1], 10.0, 1e9, 0.5)
    assert network.settle(0.5) == {1: 1.5, 2: 2.5}


def test_bad_flows_are_refused() -> None:
    network = _core.SimNetwork([1.0], 1)
    with pytest.raises(IndexError):
        network.start(0, [1], 1.0, 1.0, 0.0)
    with pytest.raises(ValueError, match="no such flow"):
        network.stop(0)
