"""Pipelines: orders, golden bubbles, stages' cuts, activations in flight, and what messages and replicas cost."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyccl.cost import Hockney, predict
from pyccl.errors import ConfigError
from pyccl.sim import Cluster, simulate_collective
from pyccl.sim.costs import network_of
from pyccl.sim.cuts import cut
from pyccl.sim.memory import state_bytes
from pyccl.sim.model import Layer, Model
from pyccl.sim.pipeline_orders import ORDERS, Slot, gpipe, in_flight, interleaved, one_forward_one_backward, schedule
from pyccl.sim.simulate import simulate
from tests.sim_workers import Given

MEGA = 1 << 20


def switch(hosts: int) -> Cluster:
    return Cluster.switch(hosts=hosts, nic="12.5 GB/s", latency="1 us")


def even(layers: int, micro_batches: int, nbytes: int = 0, activation: int = 0) -> Model:
    """A model whose layers take a second forward and a second backward."""
    rows = [Layer(str(i), 1.0, 1.0, nbytes, activation, stored=activation) for i in range(layers)]
    return Model("even", rows, batch=micro_batches, micro_batches=micro_batches)


# --- orders


@pytest.mark.parametrize(("stages", "micro", "slots", "bubble"), [(4, 8, 22, 0.272727), (8, 8, 30, 0.466667)])
@pytest.mark.parametrize("name", ["gpipe", "1f1b"])
def test_golden_bubbles(name: str, stages: int, micro: int, slots: int, bubble: float) -> None:
    """FORMULAS 4.13."""
    result = simulate(switch(stages), even(stages, micro), name, steps=3)
    assert result.step_time == pytest.approx(slots, rel=1e-9)
    assert result.breakdown["straggler"] / result.makespan == pytest.approx(bubble, abs=1e-6)
    assert f"{bubble:.1%}" in result.run.notes[0]


@pytest.mark.parametrize(("stages", "micro", "chunks"), [(4, 8, 1), (4, 8, 2), (4, 8, 3), (8, 8, 2), (2, 6, 4)])
def test_interleaving_divides_the_bubble(stages: int, micro: int, chunks: int) -> None:
    result = simulate(switch(stages), even(stages * chunks, micro), f"interleaved:{chunks}", steps=1)
    assert result.makespan == pytest.approx(2 * chunks * micro * (1 + (stages - 1) / (chunks * micro)), rel=1e-9)


@given(stages=st.integers(1, 6), groups=st.integers(1, 4), chunks=st.integers(1, 4), name=st.sampled_from(list(ORDERS)))
def test_an_order_does_everything_once_and_never_deadlocks(stages: int, groups: int, chunks: int, name: str) -> None:
    chunks, micro = chunks if name == "interleaved" else 1, stages * groups
    order = ORDERS[name](stages, micro, chunks)
    everything = {Slot(back, m, c) for back in (False, True) for m in range(micro) for c in range(chunks)}
    assert all(len(slots) == len(everything) and set(slots) == everything for slots in order)
    assert len(schedule(order, chunks)) == stages * len(everything)


@pytest.mark.parametrize(("stages", "micro"), [(4, 8), (8, 3), (1, 5)])
def test_activations_in_flight(stages: int, micro: int) -> None:
    """FORMULAS 4.13: min(s - i, m) under 1F1B; GPipe holds all."""
    held = [in_flight(slots, [1.0]) for slots in one_forward_one_backward(stages, micro)]
    assert held == [min(stages - i, micro) for i in range(stages)]
    assert [in_flight(slots, [1.0]) for slots in gpipe(stages, micro)] == [micro] * stages


def test_an_order_that_deadlocks_names_the_stages() -> None:
    first, second = one_forward_one_backward(2, 2)
    with pytest.raises(ConfigError, match="stages 0, 1 wait for each other"):
        schedule([[*reversed(first)], second], 1)
    with pytest.raises(ConfigError, match="are a multiple of 4 stages, got 6"):
        interleaved(4, 6, 2)


# --- stages


@given(work=st.lists(st.integers(0, 20), min_size=1, max_size=9), stages=st.integers(1, 9))
def test_the_longest_stage_is_as_short_as_can_be(work: list[int], stages: int) -> None:
    if stages > len(work):
        with pytest.raises(ConfigError, match="cannot be cut"):
            cut(work, stages)
        return
    edges = cut(work, stages)
    assert [edges[0][0], *(end for _, end in edges)] == [*(begin for begin, _ in edges), len(work)]
    assert all(begin < end for begin, end in edges)
    best = min(
        max(sum(work[a:b]) for a, b in zip((0, *inner), (*inner, len(work)), strict=True))
        for inner in combinations(range(1, len(work)), stages - 1)
    )
    assert max(sum(work[begin:end]) for begin, end in edges) == best


# --- messages, replicas, workers


def naive(stages: int, micro: int, factors: list[float], hop: float) -> float:
    """1F1B by asking when each slot can begin, until nothing changes."""
    order = one_forward_one_backward(stages, micro)
    end: dict[tuple[int, bool, int], float] = {}
    while True:
        before = dict(end)
        for stage, slots in enumerate(order):
            free = 0.0
            for slot in slots:
                source = stage + (1 if slot.backward else -1)
                ready = end.get((source, slot.backward, slot.micro_batch), 0.0) + hop if 0 <= source < stages else 0.0
                free = end[stage, slot.backward, slot.micro_batch] = max(free, ready) + factors[stage]
        if end == before:
            return max(end.values())


@settings(max_examples=30, deadline=None)
@given(
    stages=st.integers(2, 5), micro=st.integers(1, 7), seed=st.integers(0, 99), activation=st.sampled_from([0, MEGA])
)
def test_the_recurrence_is_the_naive_loop(stages: int, micro: int, seed: int, activation: int) -> None:
    factors = np.random.default_rng(seed).uniform(0.5, 2, (stages, 2))
    result = simulate(switch(stages), even(stages, micro, 0, activation), "1f1b", steps=2, workers=Given(factors))
    hop = 2e-6 + activation / 12.5e9 if activation else 0.0
    steps = [naive(stages, micro, factors[:, k].tolist(), hop) for k in range(2)]
    assert result.run.step_ends == pytest.approx(np.cumsum(steps), rel=1e-9)
    assert result.run.categories[:, 0] == pytest.approx(2 * micro * factors.sum(axis=1), rel=1e-9)
    assert result.run.categories.sum(axis=1) == pytest.approx(np.full(stages, result.makespan), rel=1e-12)
    assert math.fsum(result.breakdown.values()) == pytest.approx(result.makespan, rel=1e-15)


def test_replicas_exchange_each_stages_gradients_at_the_end() -> None:
    result = simulate(switch(8), even(4, 8, nbytes=4 * MEGA), "gpipe:4", steps=2)
    exchange = predict("all_reduce", "ring", 2, 4 * MEGA, Hockney(2e-6, 1 / 12.5e9))
    assert result.step_time == pytest.approx(22 + exchange, rel=1e-9)
    assert result.run.samples == 2 * 8 * 2
    assert result.run.link_bytes.sum() == pytest.approx(2 * 4 * 2 * 2 * 4 * MEGA)  # steps, stages, ranks, links


def test_stages_may_be_split_over_neighbours() -> None:
    """Tensor parallelism inside a pipeline: work, parameters and messages are shared, activations joined."""
    cluster = Cluster.switch(hosts=4, nic="12.5 GB/s", latency="1 us", gpus_per_host=4)
    rows = [Layer(str(i), 1.0, 1.0, 4 * MEGA, 2 * MEGA, stored=MEGA, reduces=1) for i in range(4)]
    model = Model("even", rows, batch=8, micro_batches=8)
    result = simulate(cluster, model, "1f1b(stages=4, ways=4)", steps=1)
    host = Cluster.switch(hosts=1, nic="12.5 GB/s", latency="1 us", gpus_per_host=4)
    join = simulate_collective(host, "all_reduce", 2 * MEGA, algorithm="ring").time
    hop = network_of(cluster).messages(np.arange(4), np.arange(4, 8), MEGA // 2).seconds
    assert result.makespan == pytest.approx(naive(4, 8, [0.25 + join] * 4, hop), rel=1e-9)
    assert result.run.categories[:, 0] == pytest.approx(np.full(16, 16 / 4))
    states = state_bytes(Model("stage", rows[:1]))
    assert result.run.memory == pytest.approx((states + 4 * MEGA) / 4)
    joined = 16 * 4 * (2 * 3 / 4 * 2 * MEGA) * 2  # passes of a stage, its ranks, bytes of each, links
    assert result.run.link_bytes.sum() == pytest.approx(4 * joined + 3 * 16 * 2 * MEGA * 2)


def test_a_message_for_each_boundary_micro_batch_and_way() -> None:
    result = simulate(switch(4), even(4, 8, activation=MEGA), "1f1b", steps=1)
    assert result.run.link_bytes.sum() == pytest.approx(3 * 8 * 2 * 2 * MEGA)
    assert result.breakdown["latency"] > 0
    assert result.breakdown["bandwidth"] > 0
    assert result.breakdown["contention"] == pytest.approx(0, abs=1e-9)


def test_memory_is_that_of_the_fullest_stage() -> None:
    model = even(4, 8, nbytes=MEGA, activation=MEGA)
    states = state_bytes(Model("stage", model.layers[:1]))
    memory = [simulate(switch(4), model, name, steps=1).run.memory for name in ("1f1b", "gpipe")]
    assert memory == [states + 4 * MEGA, states + 8 * MEGA]


def test_micro_batches_may_be_given_with_the_strategy() -> None:
    model = even(4, 1)
    assert simulate(switch(4), model, "1f1b(micro_batches=8)", steps=1).makespan == pytest.approx(22 / 8)


def test_spans_are_slots() -> None:
    spans = simulate(switch(8), even(4, 4, nbytes=MEGA), "1f1b:4", steps=3, trace_steps=1).run.spans
    assert set(spans.kind) == {"forward", "backward", "all_reduce"}
    assert len(spans.kind) == 8 * (2 * 4 + 1)
    assert set(spans.rank.tolist()) == set(range(8))
    last = [e for r, k, e in zip(spans.rank, spans.kind, spans.end, strict=True) if r >= 6 and k == "forward"]
    assert min(last) == 4.0  # through four stages


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1f1b:3", "stages times ways must divide the 8 devices, got 3 times 1"),
        ("1f1b(ways=3)", "got 2 times 3"),
        ("interleaved:0", "needs ways and chunks of at least 1"),
        ("1f1b(micro_batches=-1)", "micro_batches of at least 0"),
        ("gpipe:8", "4 layers cannot be cut into 8 stages; use at most 4"),
        ("interleaved(chunks=1, stages=4, micro_batches=6)", "a multiple of 4 stages"),
        ("gpipe(order=1f1b)", "has no 'order'"),
    ],
)
def test_a_pipeline_that_does_not_fit_is_told_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        simulate(switch(8), even(4, 8), text, steps=1)
