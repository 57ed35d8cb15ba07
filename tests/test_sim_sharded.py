"""Strategies that spread a model over devices: shards, tensors, embeddings; time, bytes and memory."""

from __future__ import annotations

import pytest

from pyccl.cost import Hockney, predict
from pyccl.sim import Cluster, simulate_collective
from pyccl.sim.memory import state_bytes
from pyccl.sim.model import Layer, Model
from pyccl.sim.simulate import simulate

SWITCH = Cluster.switch(hosts=8, nic="12.5 GB/s", latency="1 us")
TREE = Cluster.fat_tree(hosts=4, gpus_per_host=4, nic="25 GB/s", latency="3 us", oversubscription=2, hosts_per_leaf=2)
NETWORK = Hockney(2e-6, 1 / 12.5e9)
MEGA = 1 << 20


def ring(nbytes: float, size: int = 8) -> float:
    return predict("all_reduce", "ring", size, nbytes, NETWORK)


@pytest.mark.parametrize(("strategy", "scatters"), [("zero1", 1), ("zero2", 3)])
def test_zero_scatters_gradients_and_gathers_parameters(strategy: str, scatters: int) -> None:
    """Stage 2 keeps only a shard of the gradient, and so exchanges it in every micro-batch."""
    model = Model("one", [Layer("a", 0.01, 0.02, 64 * MEGA)], micro_batches=3)
    result = simulate(SWITCH, model, strategy, steps=2)
    half = ring(64 * MEGA) / 2
    assert half < 0.03
    assert result.step_time == pytest.approx(0.09 + 2 * half, rel=1e-9)  # earlier ones are hidden by computation
    assert result.run.link_bytes.sum() == pytest.approx(2 * (scatters + 1) * 2 * 7 * 64 * MEGA)


def test_zero3_gathers_twice_and_prefetches() -> None:
    model = Model("two", [Layer("a", 0.01, 0.02, 32 * MEGA), Layer("b", 0.01, 0.02, 32 * MEGA)])
    result = simulate(SWITCH, model, "zero3", steps=1)
    part = ring(32 * MEGA) / 2
    # Only the first gather and the last scatter stand alone; the scatter of b delays nothing, for a is there by then.
    assert part < 0.01
    assert result.makespan == pytest.approx(0.06 + 2 * part, rel=1e-9)
    alone = simulate(SWITCH, model, "zero3(overlap=false)", steps=1)
    assert alone.makespan == pytest.approx(0.06 + 6 * part, rel=1e-9)
    assert alone.run.link_bytes.sum() == pytest.approx(3 * 2 * 7 * 64 * MEGA)  # 3 times the model, not 2: its price


def test_hybrid_shards_within_hosts_and_reduces_between_them() -> None:
    model = Model("one", [Layer("a", 0.01, 0.02, 16 * MEGA)])
    result = simulate(TREE, model, "hybrid(overlap=false)", steps=1, trace_steps=1)
    host = Cluster.switch(hosts=1, gpus_per_host=4, nic="25 GB/s", latency="3 us")
    within = sum(
        simulate_collective(host, what, 16 * MEGA, algorithm="ring").time
        for what in ("all_gather", "all_gather", "reduce_scatter")
    )
    kinds = set(result.run.spans.kind)
    assert {"all_reduce bucket 0", "reduce_scatter bucket 0", "all_gather bucket 0"} <= kinds
    spans = result.run.spans
    across = next(
        e - b for k, b, e in zip(spans.kind, spans.begin, spans.end, strict=True) if k.startswith("all_reduce")
    )
    assert result.makespan == pytest.approx(0.03 + within + across, rel=1e-9)
    assert across > 2 * 3 / 4 * 4 * MEGA * 4 / 25e9  # four devices share an interface
    assert result.run.memory == pytest.approx(state_bytes(model, 3, 4) + 2 * 16 * MEGA)


def test_memory_of_zero_is_that_of_its_paper() -> None:
    """Rajbhandari et al. 2020, figure 1: 7.5 billion parameters, 64 devices, mixed precision with Adam."""
    model = Model("paper", [Layer("all", 0, 0, 15 * 10**9)], itemsize=2, state=12)
    assert [round(state_bytes(model, stage, 64) / 1e9, 1) for stage in range(4)] == [120.0, 31.4, 16.6, 1.9]
    cluster = Cluster.switch(hosts=64, nic="1 GB/s", latency="1 us")
    used = [simulate(cluster, model, f"zero{stage}", steps=1).run.memory for stage in (1, 2, 3)]
    assert used == pytest.approx(
        [state_bytes(model, 1, 64), state_bytes(model, 2, 64), state_bytes(model, 3, 64) + 3e10]
    )


def test_tensor_parallelism_joins_activations_within_groups() -> None:
    layers = [Layer("a", 0.04, 0.08, 8 * MEGA, activation=MEGA), Layer("b", 0.04, 0.08, 8 * MEGA, MEGA, reduces=1)]
    result = simulate(SWITCH, Model("two", layers, batch=4), "tensor:4", steps=1)
    join, exchange = ring(MEGA, 4), ring(2 * MEGA, 2)
    assert result.makespan == pytest.approx(0.24 / 4 + 2 * 3 * join + exchange, rel=1e-9)
    assert result.run.samples == 2 * 4
    assert simulate(SWITCH, Model("two", layers), "tensor:8", steps=1).makespan == pytest.approx(
        0.03 + 6 * ring(MEGA, 8), rel=1e-9
    )


def test_embeddings_go_by_all_to_all() -> None:
    model = Model.preset("dlrm", rate="1 Pflop/s", efficiency=1.0)
    result = simulate(SWITCH, model, "embedding(bucket='1 GB')", steps=1, trace_steps=1)
    ids, vectors = 2048 * 26 * 8, 2048 * 26 * 128 * 4
    move = predict("all_to_all", "pairwise", 8, ids, NETWORK) + 2 * predict(
        "all_to_all", "pairwise", 8, vectors, NETWORK
    )
    assert move < result.makespan < move + model.seconds + 3 * ring(model.nbytes)
    assert {"all_to_all ids", "all_to_all vectors", "all_to_all gradients"} <= set(result.run.spans.kind)
    assert result.run.memory > 26.1e9 * 4 / 8
    assert result.run.notes == ()
    assert "embedding tables are left out" in simulate(SWITCH, model, "ring", steps=1).run.notes[0]
