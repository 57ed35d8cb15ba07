"""What a replay refuses, and how it says so."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pyccl.errors import ConfigError
from pyccl.sim import Cluster, LogGP, replay
from pyccl.sim.recorder import Recorder
from pyccl.sim.trace import Group, Kind, Trace
from tests.traces import WORLD, collective, message, trace_of

PAIR = Cluster.switch(hosts=2, nic="1 GB/s", latency="1 us")


def exchange(*, recv_first: bool, tag: int = 0) -> Trace:
    ranks = [Recorder(), Recorder()]
    for r, rank in enumerate(ranks):
        recv = rank.add(Kind.RECV, 8, 1 - r, tag)
        send = rank.add(Kind.SEND, 8, 1 - r, tag)
        if recv_first:
            rank.after(send, recv)
    return trace_of(*ranks)


def circle() -> Trace:
    rank = Recorder()
    rank.after(rank.add(Kind.COMP, duration=1.0), 1)
    rank.after(rank.add(Kind.COMP, duration=1.0), 0)
    return trace_of(rank)


def wild() -> Trace:
    ranks = [Recorder(), Recorder()]
    ranks[0].add(Kind.RECV, 8, -1, 5)
    ranks[1].add(Kind.SEND, 8, 0, 6)
    return trace_of(*ranks)


def lone_send() -> Trace:
    ranks = [Recorder(), Recorder()]
    ranks[0].add(Kind.SEND, 8, 1)
    ranks[1].add(Kind.COMP, duration=1.0)
    return trace_of(*ranks)


def unknown_peer() -> Trace:
    ranks = [Recorder(), Recorder()]
    ranks[0].add(Kind.SEND, 8, 7)
    return trace_of(*ranks)


def unknown_dependency() -> Trace:
    rank = Recorder()
    rank.after(rank.add(Kind.COMP), 9)
    return trace_of(rank)


def meets(nbytes: int, group: int = 0, groups: tuple[Group, ...] = (WORLD,), root: int = -1, code: int = 0) -> Trace:
    ranks = [Recorder(), Recorder()]
    for r, rank in enumerate(ranks):
        rank.add(Kind.COLL, 8 if r else nbytes, root, collective=code, group=group)
    return trace_of(*ranks, groups=groups)


CASES: list[tuple[Callable[[], Trace], str]] = [
    (lambda: exchange(recv_first=True), r"deadlock: .*rank 0 node 0 \(recv 8 bytes.*rank 1 node"),
    (circle, r"deadlock: .*rank 0 node 0 .*rank 0 node 1"),
    (wild, r"deadlock: these wait for ever: rank 0 node 0 \(recv 8 bytes from any rank\)"),
    (lone_send, r"rank 0 node 0 .*nothing receives"),
    (unknown_peer, r"rank 0 sends to rank 7"),
    (unknown_dependency, r"waits for node 9, which does not exist"),
    (lambda: meets(16), r"rank [01] node 0 \(all_reduce of (8|16) bytes\) meets rank"),
    (lambda: meets(8, group=3), r"names group 3 of 1"),
    (lambda: meets(8, 1, (WORLD, Group(ranks=(0, 9)))), r"group 1 names rank 9 of 2"),
    (lambda: meets(8, 1, (WORLD, Group(ranks=(0,)))), r"rank 1 node 0.*group"),
    (lambda: meets(8, 1, (WORLD, Group(4, 4))), r"spans 16 ranks"),
    (lambda: meets(8, root=5, code=3), r"names rank 5 as root"),
    (lambda: collective(4, "all_reduce", 8), r"4 ranks, and the cluster 2 devices"),
]


@pytest.mark.parametrize(("make", "text"), CASES)
def test_trace_that_cannot_be_replayed(make: Callable[[], Trace], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        replay(make(), PAIR)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"algorithm": "rings"}, "algorithm must be one of .*ring.*got 'rings'"),
        ({"algorithm": {"all_reduce": "pairwise"}}, "all_reduce of 2 ranks can be .*ring"),
        ({"most_events": 3}, "more events than most_events"),
        ({"most_memory": "100 B"}, "most_memory"),
        ({"replicate": 3}, "multiple of 2"),
        ({"rank_of": [0, 2]}, "devices from 0 to 1"),
        ({"gamma": "3 GB"}, "gamma"),
        ({"cluster": None}, "needs a cluster, or loggp"),
    ],
)
def test_setting_that_is_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        replay(collective(2, "all_reduce", 1 << 20), **{"cluster": PAIR, **settings})


def test_a_collective_under_way_counts_as_memory() -> None:
    cluster = Cluster.switch(hosts=256, nic="1 GB/s", latency="1 us")
    with pytest.raises(ConfigError, match="collectives under way need more"):
        replay(collective(256, "all_reduce", 1 << 20), cluster, algorithm="ring", most_memory="100 KiB")


def test_loggp_names_its_parameter() -> None:
    with pytest.raises(ConfigError, match="LogGP's g"):
        LogGP(L="1 us", g="fast")


def test_ranks_may_share_a_device_or_sit_elsewhere() -> None:
    ranks = [Recorder(), Recorder()]
    message(ranks[0], ranks[1], (0, 1), 1000)
    pair = trace_of(*ranks)
    assert replay(pair, PAIR, rank_of=[0, 0]).time == 0
    four = Cluster.switch(hosts=4, nic="1 GB/s", latency="1 us")
    found = replay(pair, four, rank_of=[3, 1])
    assert np.flatnonzero(found.link_bytes).size == 2
    assert found.time == pytest.approx(3e-6)


def test_spans_that_were_not_kept(tmp_path: Any) -> None:
    found = replay(collective(2, "all_reduce", 8), PAIR, spans=False)
    with pytest.raises(ConfigError, match="spans=True"):
        found.to_perfetto(tmp_path / "x.json")


def test_ctrl_c_ends_a_long_replay() -> None:
    size = 64
    ranks = [Recorder() for _ in range(size)]
    for rank in ranks:
        for i in range(1000):
            node = rank.add(Kind.COLL, 1 << 20, collective=0, group=0)
            if i:
                rank.after(node, node - 1)
    trace = trace_of(*ranks)
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        replay(trace, Cluster.switch(hosts=size, nic="1 GB/s", latency="1 us"), algorithm="ring", most_events=0)
    timer.join()


def test_messages_under_way_count() -> None:
    ranks = [Recorder(), Recorder()]
    for i in range(2000):
        message(ranks[0], ranks[1], (0, 1), 1000 + i, tag=i)
    flood = trace_of(*ranks)
    with pytest.raises(ConfigError, match="messages and collectives under way"):
        replay(flood, PAIR, most_memory="400 KiB")
    with pytest.raises(ConfigError, match="most_events"):
        replay(flood, PAIR, most_events=100_000)  # 2,000 rates are found anew at each end
    assert replay(flood, PAIR).messages == 2000
