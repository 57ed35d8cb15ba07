"""A replay takes what its parts say: the slow oracle, the collective alone, fair shares, LogGP; and nothing else."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyccl.algorithms import algorithms
from pyccl.collectives import COLLECTIVES
from pyccl.sim import Cluster, LogGP, replay, simulate_collective
from pyccl.sim.formats.load import load
from pyccl.sim.recorder import Recorder
from pyccl.sim.trace import COLLECTIVE_NAMES, Group, Kind, Trace
from tests import replay_oracle
from tests.traces import WORLD, collective, message, sound_traces, trace_of

DATA = Path(__file__).parent / "data" / "traces"
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
PAIR = Cluster.switch(hosts=2, nic="1 GB/s", latency="1 us")
CLUSTERS = [
    Cluster.switch(hosts=8, nic="10 GB/s", latency="1 us"),
    Cluster.fat_tree(hosts=4, gpus_per_host=2, nic="10 GB/s", latency="1 us", oversubscription=2, hosts_per_leaf=2),
    Cluster.ring(hosts=5, nic="1 GB/s", latency="2 us"),
]
PAPER = LogGP(L="1.5 us", o="0.4 us", g="0.9 us", G="0.08 ns")


@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda c: c.topology)
@pytest.mark.parametrize("name", COLLECTIVES)
def test_a_collective_alone_is_the_collective(name: str, cluster: Cluster) -> None:
    begins = tuple(1e-6 * (7 * r % 5 + 1) for r in range(cluster.size))
    for algorithm in algorithms(name, cluster.size):
        for nbytes in (0,) if name == "barrier" else (0, 1 << 20, 1000003):
            alone = simulate_collective(
                cluster, name, nbytes, algorithm=algorithm, fidelity="events", starts=begins, gamma=1e-10
            )
            trace = collective(cluster.size, name, nbytes, begins=begins)
            found = replay(trace, cluster, algorithm=algorithm, gamma=1e-10)
            np.testing.assert_allclose(found.finish, alone.finish, rtol=1e-9)
            np.testing.assert_allclose(found.link_bytes, alone.link_bytes)


def test_the_algorithm_is_what_the_runtime_takes_for_the_size() -> None:
    cluster, times = CLUSTERS[0], []
    for nbytes in (8, 1 << 26):
        found = replay(collective(8, "all_reduce", nbytes), cluster).time
        by_name = {
            name: simulate_collective(cluster, "all_reduce", nbytes, algorithm=name, fidelity="events").time
            for name in algorithms("all_reduce", 8)
        }
        times.append({name for name, time in by_name.items() if time == pytest.approx(found, rel=1e-9)})
    assert times[0]
    assert times[1]
    assert times[0] != times[1]


@settings(max_examples=150, deadline=None)
@given(trace=sound_traces())
def test_small_traces_end_when_the_oracle_says(trace: Trace) -> None:
    cluster = Cluster.switch(hosts=trace.size, nic="1 GB/s", latency="1.5 us")
    expected = [end for rank in replay_oracle.replay(trace, alpha=3e-6) for end in rank]
    found = replay(trace, cluster, measured=True)
    np.testing.assert_allclose(found.end, expected, rtol=1e-9, atol=1e-18)
    assert math.fsum(found.critical_path.values()) == pytest.approx(found.time, rel=1e-9)
    whole = found.compute + found.communication + found.idle
    np.testing.assert_allclose(whole, found.time, rtol=1e-9)
    again = replay(trace, cluster, measured=True)
    assert (again.end == found.end).all()
    assert (again.begin == found.begin).all()


def fluid(messages: list[tuple[int, int, int, float]], rate: float) -> list[float]:
    """When the bytes of (source, dest, bytes, begin) have left: max-min fair over each rank's way out and way in."""
    left, ends, now = {i: float(m[2]) for i, m in enumerate(messages)}, [0.0] * len(messages), 0.0
    while left:
        open_now = [i for i in left if messages[i][3] <= now]
        rates: dict[int, float] = {}
        while len(rates) < len(open_now):
            users = {}
            for i in open_now:
                for port in (("out", messages[i][0]), ("in", messages[i][1])):
                    users.setdefault(port, []).append(i)
            shares = {
                port: (rate - sum(rates.get(i, 0.0) for i in who)) / sum(i not in rates for i in who)
                for port, who in users.items()
                if any(i not in rates for i in who)
            }
            port = min(shares, key=lambda p: shares[p])
            rates.update({i: shares[port] for i in users[port] if i not in rates})
        later = [messages[i][3] - now for i in left if messages[i][3] > now]
        step = min([left[i] / rates[i] for i in open_now] + later)
        for i in open_now:
            left[i] -= rates[i] * step
        now += step
        for i in [i for i in open_now if left[i] <= 1e-6]:
            ends[i] = now
            del left[i]
    return ends


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_messages_share_links_fairly(data: st.DataObject) -> None:
    pairs = st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(lambda p: p[0] != p[1])
    begins = st.integers(0, 40).map(lambda n: n * 1e-6)
    drawn = data.draw(st.lists(st.tuples(pairs, st.integers(1, 10**5), begins), min_size=1, max_size=8))
    ranks = [Recorder() for _ in range(4)]
    for i, ((source, dest), nbytes, begin) in enumerate(drawn):
        wait = ranks[source].add(Kind.COMP, duration=begin, lane=i)
        send, _ = message(ranks[source], ranks[dest], (source, dest), nbytes, tag=i)
        ranks[source].after(send, wait)
    found = replay(trace_of(*ranks), Cluster.switch(hosts=4, nic="1 GB/s", latency="1 us"))
    ends = fluid([(*pair, nbytes, begin) for pair, nbytes, begin in drawn], 1e9)
    sent = sorted(
        float(end) for rank in range(4)
        for end, node in zip(found.nodes(rank)[1], found.trace.nodes(rank), strict=True) if node.kind == Kind.SEND
    )  # fmt: skip
    np.testing.assert_allclose(sent, sorted(end + 2e-6 for end in ends), rtol=1e-9)
    assert found.link_bytes.sum() == 2 * sum(nbytes for _, nbytes, _ in drawn)


def test_a_message_and_a_collective_share_the_network() -> None:
    cluster = Cluster.switch(hosts=4, nic="1 GB/s", latency="1 us")
    ranks = [Recorder() for _ in range(4)]
    for rank in ranks:
        rank.add(Kind.COLL, 4_000_000, collective=COLLECTIVE_NAMES.index("all_reduce"), group=0)
    message(ranks[0], ranks[1], (0, 1), 3_000_000)
    found = replay(trace_of(*ranks), cluster, algorithm="ring")
    # On the way from rank 0 to rank 1 each of the ring's messages gets half, until both have moved 3 MB.
    assert found.nodes(0)[1][1] == pytest.approx(6e-3, rel=0.01)
    assert found.time == pytest.approx(9e-3, rel=0.01)
    assert found.link_bytes[:2].sum() + found.link_bytes[2:].sum() == 2 * (4 * 6_000_000 + 3_000_000)


@pytest.mark.parametrize(("count", "nbytes", "expected"), [(1, 65536, 7.5428e-6), (4, 1, 5.0e-6)])
def test_loggp(count: int, nbytes: int, expected: float) -> None:
    here, there = Recorder(), Recorder()
    for _ in range(count):
        message(here, there, (0, 1), nbytes)
    assert replay(trace_of(here, there), loggp=PAPER).time == pytest.approx(expected, rel=1e-9)


def test_loggp_processor_and_interface() -> None:
    ranks = [Recorder(), Recorder(), Recorder()]
    ranks[0].add(Kind.COMP, duration=1e-6)  # the processor hands over the message behind it
    message(ranks[0], ranks[2], (0, 2), 1001)
    message(ranks[1], ranks[2], (1, 2), 1001)
    found = replay(trace_of(*ranks), loggp=PAPER)
    first = 0.4e-6 + 1.5e-6 + 80e-9
    np.testing.assert_allclose(found.nodes(0)[1], [1e-6, 1.4e-6], rtol=1e-9)
    np.testing.assert_allclose(found.nodes(2)[1], [1e-6 + first + 0.4e-6, first + 0.4e-6], rtol=1e-9)
    both = replay(collective(2, "broadcast", 65536, root=0), loggp=PAPER, algorithm="binomial")
    assert both.time == pytest.approx(PAPER.seconds(65536), rel=1e-9)


def test_lanes_take_turns_and_begins_can_be_waited_for() -> None:
    rank = Recorder()
    for lane in (0, 0, 1):
        rank.add(Kind.COMP, duration=2e-6, lane=lane)
    rank.after(rank.add(Kind.MEM, duration=5e-6), 1, begun=True)
    found = replay(trace_of(rank), Cluster.switch(hosts=1, nic="1 GB/s", latency="1 us"))
    assert found.begin.tolist() == pytest.approx([0, 2e-6, 0, 2e-6])
    assert found.end.tolist() == pytest.approx([2e-6, 4e-6, 2e-6, 7e-6])
    assert found.critical_path["memory"] == pytest.approx(5e-6)


def test_a_rank_takes_from_any_what_came_first() -> None:
    ranks = [Recorder(), Recorder(), Recorder()]
    late = ranks[1].add(Kind.COMP, duration=1e-3)
    ranks[1].after(ranks[1].add(Kind.SEND, 1000, 0, 5), late)
    ranks[2].add(Kind.SEND, 1000, 0, 6)
    ranks[0].add(Kind.RECV, 1000, -1, -1)
    ranks[0].add(Kind.RECV, 1000, -1, 5)
    found = replay(trace_of(*ranks), Cluster.switch(hosts=3, nic="1 GB/s", latency="1 us"))
    np.testing.assert_allclose(found.nodes(0)[1], [3e-6, 1e-3 + 3e-6], rtol=1e-9)


def test_groups_meet_apart() -> None:
    """Two pairs of neighbours, then two pairs across: what each pair does takes what it takes alone."""
    groups = (WORLD, Group(2, 1), Group(2, 2), Group(ranks=(1, 2)))
    ranks = [Recorder() for _ in range(4)]
    for r, rank in enumerate(ranks):
        for i, group in enumerate((1, 2)):
            node = rank.add(Kind.COLL, 1 << 20, collective=0, group=group)
            if i:
                rank.after(node, node - 1)
        if r in (1, 2):
            rank.after(rank.add(Kind.COLL, 1 << 20, 2, collective=3, group=3), 1)
    found = replay(trace_of(*ranks, groups=groups), Cluster.switch(hosts=4, nic="1 GB/s", latency="1 us"),
                   algorithm={"all_reduce": "ring", "broadcast": "binomial"})  # fmt: skip
    ring = simulate_collective(PAIR, "all_reduce", 1 << 20, algorithm="ring").time
    passed = simulate_collective(PAIR, "broadcast", 1 << 20, algorithm="binomial", fidelity="events").time
    np.testing.assert_allclose(found.finish, [2 * ring, 2 * ring + passed, 2 * ring + passed, 2 * ring], rtol=1e-9)


def test_replicas_shift_their_peers_and_meet_in_the_world() -> None:
    groups = (WORLD, Group(ranks=(0, 1)))

    def told(size: int, world: int) -> list[Recorder]:
        ranks = [Recorder() for _ in range(size)]
        for r, rank in enumerate(ranks):
            rank.add(Kind.COMP, duration=1e-5 * (r % 2 + 1))
            rank.after(rank.add(Kind.SEND, 5000, r ^ 1), 0)
            rank.after(rank.add(Kind.RECV, 5000, r ^ 1), 0)
            rank.after(rank.add(Kind.COLL, 4000, collective=0, group=world), 2)
        return ranks

    cluster = Cluster.switch(hosts=8, nic="1 GB/s", latency="1 us")
    grown = replay(trace_of(*told(2, 0)), cluster, replicate=8, algorithm="ring")
    spelled = replay(trace_of(*told(8, 0)), cluster, algorithm="ring")
    assert (grown.end == spelled.end).all()
    assert (grown.link_bytes == spelled.link_bytes).all()
    apart = replay(trace_of(*told(2, 1), groups=groups), cluster, replicate=8, algorithm="ring")
    alone = replay(trace_of(*told(2, 0)), PAIR, algorithm="ring")
    np.testing.assert_allclose(apart.end, np.tile(alone.end, 4), rtol=1e-12)


def test_samples(tmp_path: Path) -> None:
    ring = replay(DATA / "ring_8", Cluster.switch(hosts=8, nic="10 GB/s", latency="0.5 us"))
    assert ring.time == pytest.approx(14 * (1e-6 + 1e-10 * (1 << 17)) + 7 * 7e-6, rel=1e-9)
    kineto = replay(load(DATA / "step.rank0.json"), Cluster.switch(hosts=2, nic="1 GB/s", latency="0 s"), measured=True)
    assert kineto.time == pytest.approx(570e-6, abs=1e-9)
    layers = replay(load(DATA / "microAllReduce.txt", ranks=8), Cluster.switch(hosts=8, nic="1 GB/s", latency="1 us"))
    assert layers.time > 0
    assert layers.messages > 0
    pingpong = replay(DATA / "pingpong.goal", PAIR)
    pingpong.to_perfetto(tmp_path / "x.json")
    events = json.loads((tmp_path / "x.json").read_text())["traceEvents"]
    assert sum(event["ph"] == "X" for event in events) == len(pingpong.trace)
    assert max(event.get("ts", 0) + event.get("dur", 0) for event in events) == pytest.approx(pingpong.time * 1e6)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the samples beside the repository are not there")
@pytest.mark.parametrize(("folder", "size"), [("chakra/all_reduce_4", 4), ("chakra/ring_8", 8)])
def test_samples_beside_the_repository(folder: str, size: int) -> None:
    found = replay(SHARED / folder, Cluster.switch(hosts=size, nic="10 GB/s", latency="1 us"))
    assert found.trace.size == size
    assert found.time > 0
    assert str(found).startswith(str(found.trace.source))
