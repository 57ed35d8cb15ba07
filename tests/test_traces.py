"""Traces: what they hold, that they are checked, and that every format comes back as it was written."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyccl.errors import ConfigError
from pyccl.sim.formats import chakra, goal, kineto, layers, nccl_tests
from pyccl.sim.formats.load import load
from pyccl.sim.recorder import Recorder
from pyccl.sim.trace import COLLECTIVE_NAMES, Columns, Group, Kind, Trace
from tests.replay_oracle import replay

DATA = Path(__file__).parent / "data" / "traces"


def ring(size: int, nbytes: int = 4096) -> Iterator[Columns]:
    """The ring all_reduce of `size` ranks, rank by rank."""
    for rank in range(size):
        out, last = Recorder(), -1
        for step in range(2 * (size - 1)):
            send = out.add(Kind.SEND, nbytes, (rank + 1) % size, step)
            if last >= 0:
                out.after(send, last)
            last = out.add(Kind.RECV, nbytes, (rank - 1) % size, step)
        yield out.finish()


def same(a: Trace, b: Trace, names: bool = True) -> bool:
    def seen(trace: Trace, rank: int) -> list[object]:
        return [n if names else n._replace(name="", id=0) for n in trace.nodes(rank)]

    return a.size == b.size and all(seen(a, r) == seen(b, r) for r in range(a.size))


def test_chakra_samples() -> None:
    one = load(DATA / "all_reduce.0.et")
    assert (one.size, len(one), one.skipped) == (4, 4, {})
    node = next(one.nodes(3))
    assert (node.kind, node.collective, node.nbytes, node.id) == (Kind.COLL, "all_reduce", 1 << 20, 3)
    spelled = load(DATA / "ring_8")
    assert (spelled.size, len(spelled)) == (8, 280)
    alpha, beta, compute = 1e-6, 1e-10, 7e-6
    ends = replay(spelled, alpha, beta)
    hops = 14 * (alpha + beta * (1 << 17)) + 7 * compute  # 2(p-1) messages one after the other, p-1 reductions
    assert max(map(max, ends)) == pytest.approx(hops, rel=1e-12)


def test_ring_takes_what_its_formula_says() -> None:
    trace = Trace(tuple(ring(5)), 5)
    trace.topological_check()
    assert max(map(max, replay(trace, 1e-6, 1e-9))) == pytest.approx(8 * (1e-6 + 4096e-9), rel=1e-12)


def test_chakra_comes_back(tmp_path: Path) -> None:
    trace = load(DATA / "ring_8")
    chakra.write(trace, tmp_path / "x")
    assert same(chakra.read(tmp_path / "x.0.et"), trace)


@st.composite
def traces(draw: st.DrawFn, collectives: bool) -> Trace:
    size = draw(st.integers(1, 4))
    columns = []
    for rank in range(size):
        out = Recorder()
        for i in range(draw(st.integers(0, 12))):
            kinds = [Kind.COMP] + [Kind.SEND, Kind.RECV] * (size > 1) + [Kind.COLL] * collectives
            kind = draw(st.sampled_from(kinds))
            peer = (rank + draw(st.integers(1, size - 1))) % size if kind in (Kind.SEND, Kind.RECV) else -1
            nbytes = draw(st.integers(0, 1 << 40)) * (size if kind == Kind.COLL else kind != Kind.COMP)
            duration = draw(st.integers(0, 10**12)) / 1e9 if kind == Kind.COMP else 0.0
            code = draw(st.integers(0, len(COLLECTIVE_NAMES) - 1)) if kind == Kind.COLL else -1
            tag = draw(st.integers(0, (1 << 31) - 1)) if peer >= 0 else 0
            lane = draw(st.integers(0, 3))
            out.add(kind, nbytes, peer, tag, duration, code, 0 if kind == Kind.COLL else -1, lane)
            for other in draw(st.sets(st.integers(0, max(i - 1, 0)), max_size=2)) if i else ():
                out.after(i, other)
        columns.append(out.finish())
    return Trace(tuple(columns), size)


@settings(max_examples=60, deadline=None)
@given(trace=traces(collectives=False))
def test_goal_comes_back(trace: Trace, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("goal") / "x.goal"
    goal.write(trace, path)
    assert same(goal.read(path), trace)


@settings(max_examples=60, deadline=None)
@given(trace=traces(collectives=True))
def test_any_trace_comes_back_from_chakra(trace: Trace, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("chakra")
    chakra.write(trace, folder / "x")
    assert same(chakra.read(folder), trace, names=False)


def test_goal_sample_with_bom_crlf_and_gzip(tmp_path: Path) -> None:
    text = (DATA / "pingpong.goal").read_bytes()
    plain = load(DATA / "pingpong.goal")
    first = list(plain.nodes(0))
    assert [n.kind for n in first] == [Kind.COMP, Kind.SEND, Kind.RECV]
    assert (first[0].duration, first[2].lane, first[1].after, first[2].begun) == (1.5e-6, 1, (0,), (1,))
    for name, data in (("a", b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n")), ("b.gz", gzip.compress(text))):
        (tmp_path / name).write_bytes(data)
        assert same(load(tmp_path / name), plain)
    assert replay(plain, 1e-6)[0] == pytest.approx([1.5e-6, 2.5e-6, 3.5e-6])


def test_goal_is_streamed(tmp_path: Path) -> None:
    """The memory follows the largest rank, not the text."""
    peaks = []
    for ranks in (384, 1536):
        goal.write_ranks(ranks, ((c, 0) for c in list(ring(32)) * (ranks // 32)), tmp_path / "ring.goal")
        tracemalloc.start()
        assert sum(len(c) for _, c in goal.Goal(tmp_path / "ring.goal")) == ranks * 124
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]  # four times the text


def test_replicas_take_no_memory_and_stay_apart() -> None:
    trace = Trace(tuple(ring(4)), 4).replicate(100_000)
    assert len(trace) == 100_000 * 12
    assert [n.peer for n in trace.nodes(99_999)][:2] == [99_996, 99_998]
    assert trace.columns[0] is trace.of(4)
    trace.topological_check()
    with pytest.raises(ConfigError, match="multiple of 4"):
        trace.replicate(10)


def test_groups() -> None:
    out = Recorder().finish()
    groups = (Group(), Group(2, 1), Group(4, 2), Group(2, ranks=(0, 3)))
    trace = Trace((out,) * 4, 16, groups)
    assert list(trace.members(5, 0)) == list(range(16))
    assert list(trace.members(5, 1)) == [4, 5]
    assert list(trace.members(5, 2)) == [1, 3, 5, 7]
    assert list(trace.members(8, 3)) == [8, 11]


def test_layer_text() -> None:
    trace = load(DATA / "microAllReduce.txt")
    assert trace.size == 8
    assert [n.nbytes for n in trace.nodes(0) if n.kind == Kind.COLL] == [1 << 24, 1 << 26]
    ends = replay(trace, 0.0, 1e-9)
    assert max(ends[0]) == pytest.approx(2 * 556e-6 + ((1 << 24) + (1 << 26)) * 1e-9 + 6e-9, rel=1e-9)
    assert load(DATA / "microAllReduce.txt", 1024).size == 1024


def test_gathering_counts_the_large_side(tmp_path: Path) -> None:
    path = tmp_path / "layers.txt"
    path.write_text("HYBRID_TRANSFORMER model_parallel_NPU_group: 4 ep: 2 all_gpus: 16\n1\n"
                    "a -1 10 ALLGATHER 100 1 NONE 0 1 REDUCESCATTER_DP_EP 64 1\n")  # fmt: skip
    trace = layers.read(path)
    met = [n for n in trace.nodes(0) if n.kind == Kind.COLL]
    assert [(n.collective, n.nbytes, list(trace.members(0, n.group))) for n in met] == [
        ("all_gather", 400, [0, 1, 2, 3]), ("reduce_scatter", 64, [0, 8])
    ]  # fmt: skip
    trace.topological_check()


def test_profiler_trace_replays_in_its_own_time() -> None:
    trace = load(DATA / "step.rank0.json")
    assert trace.size == 2
    met = [n for n in trace.nodes(1) if n.kind == Kind.COLL]
    assert [(n.collective, n.nbytes) for n in met] == [("all_reduce", 1 << 20)]
    names = [n.name for n in trace.nodes(0)]
    update = list(trace.nodes(0))[-1]
    waited = {names[d] for host in update.after for d in list(trace.nodes(0))[host].after}
    assert waited == {"void gemm_backward_2", met[0].name}
    assert max(map(max, replay(trace))) == pytest.approx(570e-6, abs=1e-9)
    assert kineto.read([DATA / "step.rank0.json"], ranks=64).size == 64


def test_a_profile_of_a_cpu_takes_sizes_from_the_calls(tmp_path: Path) -> None:
    call = {"Collective name": "allreduce", "In msg nelems": 1000, "dtype": "Float"}
    events = [
        {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 0, "dur": 100},
        {"ph": "X", "cat": "cpu_op", "name": "aten::inner", "pid": 1, "tid": 1, "ts": 10, "dur": 50},
        {
            "ph": "X",
            "cat": "cpu_op",
            "name": "record_param_comms",
            "pid": 1,
            "tid": 1,
            "ts": 100,
            "dur": 1,
            "args": call,
        },
        {"ph": "X", "cat": "user_annotation", "name": "gloo:all_reduce", "pid": 1, "tid": 2, "ts": 102, "dur": 40},
    ]
    path = tmp_path / "cpu.json"
    path.write_text(json.dumps(events))
    nodes = [n for n in load(path).nodes(0) if n.name != "host"]
    assert [(n.name, n.collective, n.nbytes) for n in nodes] == [
        ("aten::mm", None, 0), ("gloo:all_reduce", "all_reduce", 4000)
    ]  # fmt: skip


def test_measurements() -> None:
    rows = nccl_tests.read(DATA / "all_reduce_perf.txt")
    assert rows[-1] == ("all_reduce", 1 << 25, pytest.approx(1.85e-3), pytest.approx(18.14e9), 2)
    ratios = nccl_tests.read_ratios(DATA / "nic_ratio.csv")
    assert len(ratios.columns) == 12
    assert ratios.sizes[0] == 1 << 24
    assert ratios.values[0][:2] == (0.45, 0.32)
    assert ratios.values[0][-1] is None
