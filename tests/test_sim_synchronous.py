"""Synchronous strategies against closed forms and naive loops: buckets, overlap, stragglers, causes."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyccl.algorithms import algorithms
from pyccl.cost import Hockney, predict
from pyccl.errors import ConfigError
from pyccl.sim import Cluster, Workers, simulate_collective
from pyccl.sim.buckets import plan
from pyccl.sim.job import CATEGORIES
from pyccl.sim.model import Layer, Model
from pyccl.sim.simulate import simulate
from pyccl.sim.strategies import parse, strategies
from pyccl.sim.training_result import Result
from tests.sim_workers import Given

SWITCH = Cluster.switch(hosts=8, nic="12.5 GB/s", latency="1 us")
NETWORK = Hockney(2e-6, 1 / 12.5e9)
MEGA = 1 << 20
LAYERS = [Layer("a", 0.002, 0.004, 2 * MEGA), Layer("b", 0.001, 0.003, 64 * MEGA), Layer("c", 0.003, 0.005, 4 * MEGA)]
MODEL = Model("three", LAYERS, batch=32)


EXPONENTIAL = Workers(compute="exponential(mean=1 s)")


def ring(nbytes: float, size: int = 8) -> float:
    return predict("all_reduce", "ring", size, nbytes, NETWORK)


def rows_sum(result: Result) -> None:
    table = result.run.categories
    assert (table >= 0).all()
    assert table.sum(axis=1) == pytest.approx(np.full(len(table), result.makespan), rel=1e-12)
    assert math.fsum(result.breakdown.values()) == pytest.approx(result.makespan, rel=1e-15)


# --- all_reduce


@pytest.mark.parametrize("algorithm", algorithms("all_reduce", 8))
def test_one_bucket_without_overlap_is_computation_and_the_closed_form(algorithm: str) -> None:
    result = simulate(SWITCH, MODEL, f"{algorithm}(bucket='1 GB', overlap=false)", steps=7)
    cost = sum(
        simulate_collective(SWITCH, "all_reduce", bucket.nbytes, algorithm=algorithm).time
        for bucket in plan([4 * MEGA, 64 * MEGA, 2 * MEGA], 1e9)
    )
    if algorithm == "ring":
        assert cost == pytest.approx(ring(4 * MEGA) + ring(66 * MEGA), rel=1e-9)
    assert result.step_time == pytest.approx(0.018 + cost, rel=1e-9)
    assert result.throughput == pytest.approx(8 * 32 / (0.018 + cost), rel=1e-9)
    assert len(result.run.step_ends) == result.run.updates == 7
    rows_sum(result)


def overlapped(model: Model, sizes: list[int], cap: float, factor: float) -> float:
    """FORMULAS 4.12, word for word."""
    ready = factor * (model.seconds - sum(layer.backward for layer in model.layers))
    end = 0.0
    for bucket in plan(sizes, cap):
        ready += factor * sum(model.layers[-1 - i].backward for i in range(bucket.begin, bucket.end))
        end = max(ready, end) + ring(8 * -(-bucket.nbytes // 8))
    return max(end, factor * model.seconds)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40 * MEGA), min_size=1, max_size=12), cap=st.sampled_from([0, MEGA, 25 * MEGA, 1e12]),
    micro=st.integers(1, 3), seed=st.integers(0, 99), drawn=st.booleans(),
)  # fmt: skip
def test_overlap_is_the_naive_loop(sizes: list[int], cap: float, micro: int, seed: int, drawn: bool) -> None:
    generator = np.random.default_rng(seed)
    layers = [Layer(str(i), *generator.uniform(0, 0.01, 2), size) for i, size in enumerate(reversed(sizes))]
    model = Model("drawn", layers, micro_batches=micro)
    factors = generator.uniform(0.5, 2.0, (8, 5)) if drawn else np.ones((8, 5))
    result = simulate(SWITCH, model, f"ring:{cap} B", steps=5, workers=Given(factors) if drawn else None)
    steps = [overlapped(model, sizes, cap, factors[:, k].max()) for k in range(5)]
    assert result.run.step_ends == pytest.approx(np.cumsum(steps), rel=1e-9)
    rows_sum(result)
    assert result.run.categories[:, 0] == pytest.approx(factors.sum(axis=1) * model.seconds, rel=1e-9)


def test_hidden_communication_costs_nothing_and_the_exposed_part_is_split_by_cause() -> None:
    slow = Cluster.switch(hosts=2, nic="1 GB/s", latency="10 us", gpus_per_host=2)
    layers = [Layer("first", 0.01, 0.0, 8 * MEGA), Layer("last", 0.0, 1.0, MEGA)]
    result = simulate(slow, Model("two", layers), "ring", steps=1)
    cost = simulate_collective(slow, "all_reduce", 8 * MEGA, algorithm="ring")
    parts = result.breakdown
    last = simulate_collective(slow, "all_reduce", MEGA, algorithm="ring")
    assert result.makespan == pytest.approx(1.01 + last.time + cost.time, rel=1e-9)  # both are ready at backward's end
    assert parts["compute"] == pytest.approx(1.01)
    assert parts["straggler"] == parts["recovery"] == 0
    latency = 2 * simulate_collective(slow, "all_reduce", 0, algorithm="ring").time
    assert parts["latency"] == pytest.approx(latency, rel=1e-9)
    rows_sum(result)
    layers = [Layer("first", 0.01, 1.0, 0), Layer("last", 0.0, 0.0, MEGA)]
    hidden = simulate(slow, Model("two", layers), "ring", steps=1)
    assert hidden.makespan == pytest.approx(1.01, rel=1e-12)
    assert tuple(hidden.breakdown) == CATEGORIES


def test_a_straggler_is_waited_for() -> None:
    factors = np.ones((8, 4))
    factors[3] = 2.0
    result = simulate(SWITCH, Model("one", [Layer("a", 0.1, 0.2, 0)]), "ring", steps=4, workers=Given(factors))
    assert result.makespan == pytest.approx(4 * 0.6)
    assert result.run.categories[3, :2] == pytest.approx([2.4, 0.0])
    assert result.run.categories[0, :2] == pytest.approx([1.2, 1.2])


def test_the_slowest_of_n_exponential_workers_takes_the_harmonic_number() -> None:
    result = simulate(SWITCH, Model("one", [Layer("a", 0.4, 0.6, 0)]), "ring", steps=200_000, workers=EXPONENTIAL)
    harmonic = sum(1 / k for k in range(1, 9))
    error = math.sqrt(sum(1 / k**2 for k in range(1, 9)) / 200_000)  # standard error of the mean
    assert abs(result.step_time - harmonic) < 5 * error
    rows_sum(result)


def test_a_thousand_workers_take_ten_thousand_steps_in_blocks() -> None:
    cluster = Cluster.switch(hosts=1000, nic="12.5 GB/s", latency="1 us")
    few = simulate(cluster, MODEL, "ring", steps=10_000)
    assert few.step_time == pytest.approx(simulate(cluster, MODEL, "ring", steps=1).step_time)
    drawn = simulate(cluster, MODEL, "ring", steps=10_000, workers=Workers(compute="lognormal(cv=0.2)", slow={7: 1.5}))
    assert drawn.step_time > few.step_time
    assert drawn.run.step_ends[-1] == drawn.makespan
    rows_sum(drawn)


def test_steps_in_blocks_are_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    strategies = ("ring", "local_sgd:3", "gpipe:2")
    whole = [simulate(SWITCH, MODEL, name, steps=50, workers=EXPONENTIAL).run for name in strategies]
    monkeypatch.setattr("pyccl.sim.barrier._ROUNDS", 7)
    monkeypatch.setattr("pyccl.sim.barrier._BLOCK", 99)
    monkeypatch.setattr("pyccl.sim.pipeline_run._HELD", 99)
    for name, run in zip(strategies, whole, strict=True):
        again = simulate(SWITCH, MODEL, name, steps=50, workers=EXPONENTIAL).run
        assert again.step_ends == pytest.approx(run.step_ends, rel=1e-12)
        assert again.categories == pytest.approx(run.categories, rel=1e-9, abs=1e-9)
        assert again.link_bytes == pytest.approx(run.link_bytes)


def test_the_same_seed_gives_the_same_bits_and_strategies_share_their_draws() -> None:
    runs = [simulate(SWITCH, MODEL, "ring", steps=50, workers=EXPONENTIAL, seed=seed) for seed in (3, 3, 4)]
    assert runs[0].run.step_ends.tobytes() == runs[1].run.step_ends.tobytes() != runs[2].run.step_ends.tobytes()
    other = simulate(SWITCH, MODEL, "zero3", steps=50, workers=EXPONENTIAL, seed=3)
    assert other.run.categories[:, 0] == pytest.approx(runs[0].run.categories[:, 0], rel=1e-12)


def test_a_model_without_times_takes_what_its_workers_draw() -> None:
    class Fixed:
        def times(self, size: int, steps: int, seconds: float, seed: int, first: int = 0) -> Any:
            return np.full((size, steps), 0.25)

    model = Model("bytes", [Layer("a", 0.0, 0.0, MEGA)])
    assert simulate(SWITCH, model, "ring", steps=2, workers=Fixed()).step_time == pytest.approx(0.25 + ring(MEGA))


def test_conservation_of_bytes() -> None:
    result = simulate(SWITCH, MODEL, "ring", steps=3)
    assert result.run.link_bytes == pytest.approx(np.full(16, 3 * 2 * 7 / 8 * 70 * MEGA))


def test_spans_are_what_happened() -> None:
    factors = np.ones((8, 3))
    factors[2] = 1.5
    result = simulate(SWITCH, MODEL, "ring(bucket='25 MiB')", steps=3, trace_steps=2, workers=Given(factors))
    spans = result.run.spans
    assert set(spans.kind) == {"forward", "backward", *(f"all_reduce bucket {index}" for index in range(3))}
    assert (spans.end > spans.begin).all()
    assert set(spans.rank) == set(range(8))
    assert set(spans.step) == {0, 1}
    assert spans.end.max() == pytest.approx(result.run.step_ends[1])
    busy = [(e - b) for r, k, b, e, s in zip(spans.rank, spans.kind, spans.begin, spans.end, spans.step, strict=True)
            if r == 2 and k in ("forward", "backward") and s == 0]  # fmt: skip
    assert sum(busy) == pytest.approx(1.5 * MODEL.seconds)


def test_many_ranks_are_traced_by_some() -> None:
    cluster = Cluster.switch(hosts=1000, nic="12.5 GB/s", latency="1 us")
    ranks = set(simulate(cluster, MODEL, "ring", steps=1, trace_steps=1).run.spans.rank.tolist())
    assert len(ranks) == 64
    assert {0, 999} <= ranks


# --- others


def test_a_leader_gathers_and_broadcasts() -> None:
    result = simulate(SWITCH, MODEL, "leader", steps=2)
    gather = predict("gather", "direct", 8, 8 * MODEL.nbytes, NETWORK)
    broadcast = predict("broadcast", "binomial", 8, MODEL.nbytes, NETWORK)
    assert result.step_time == pytest.approx(0.018 + gather + broadcast, rel=1e-9)


@pytest.mark.parametrize("strategy", ["local_sgd", "diloco", "easgd"])
def test_local_steps_are_waited_for_together(strategy: str) -> None:
    factors = np.random.default_rng(5).uniform(0.5, 2, (8, 10))
    result = simulate(SWITCH, MODEL, f"{strategy}:4", steps=10, workers=Given(factors))
    sums = [factors[:, begin : begin + 4].sum(axis=1).max() * MODEL.seconds for begin in (0, 4, 8)]
    assert result.run.step_ends == pytest.approx(np.cumsum(np.array(sums) + ring(MODEL.nbytes)), rel=1e-9)
    assert (result.run.updates, result.run.samples) == (3, 8 * 10 * 32)
    alike = simulate(SWITCH, MODEL, f"{strategy}:4", steps=10)
    assert alike.makespan == pytest.approx(10 * MODEL.seconds + 3 * ring(MODEL.nbytes), rel=1e-9)
    rows_sum(result)


@pytest.mark.parametrize(
    ("cluster", "text", "message"),
    [
        (SWITCH, "rng", "has no 'rng'; did you mean 'ring'"),
        (SWITCH, "all_reduce(algorithm=rang)", "all_reduce algorithm must be one of"),
        (SWITCH, "ring(bucket=25)", "bucket: '25' has no unit; write for example '64 MiB'"),
        (SWITCH, "ring(overlap=maybe)", "overlap must be true or false, got 'maybe'"),
        (SWITCH, "ring(buckets='1 MB')", "has no 'buckets'; did you mean 'bucket'"),
        (SWITCH, "local_sgd:0", "local must be at least 1"),
        (SWITCH, "tensor:3", "ways must divide the 8 devices, got 3"),
        (SWITCH, "embedding", "has no embeddings; use preset 'dlrm'"),
        (SWITCH, "zero3(reduce_scatter=ringg)", "reduce_scatter algorithm must be one of"),
        (Cluster.switch(hosts=6, nic="1 GB/s", latency="1 us"), "zero1(all_gather=recursive_doubling)",
         "does not serve 6 workers; choose one of"),
    ],
)  # fmt: skip
def test_a_strategy_that_does_not_suit_is_told_what_to_write(cluster: Cluster, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        simulate(cluster, MODEL, text, steps=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be a whole number from 1 to"),
        ({"steps": 1 << 40}, "steps must be a whole number from 1 to"),
        ({"steps": True}, "steps must be a whole number"),
        ({"trace_steps": -1}, "trace_steps must be a whole number from 0"),
        ({"steps": 1 << 20, "trace_steps": 1 << 20}, "trace fewer steps"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        simulate(SWITCH, MODEL, "ring", **options)


def test_a_round_longer_than_the_job_is_the_job() -> None:
    result = simulate(SWITCH, MODEL, f"diloco:{10**9}", steps=100)
    assert result.makespan == pytest.approx(100 * MODEL.seconds + ring(MODEL.nbytes), rel=1e-9)


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(strategies()), value=st.one_of(st.none(), st.text(max_size=8), st.integers(-9, 10**12)),
    options=st.dictionaries(st.sampled_from(["bucket", "stages", "ways", "overlap", "x"]), st.text(max_size=6)),
)  # fmt: skip
def test_any_text_is_a_strategy_or_an_error_that_says_so(name: str, value: Any, options: dict[str, str]) -> None:
    text = name + ("" if value is None else f":{value}")
    if options:
        text += f"({', '.join(f'{key}={given}' for key, given in options.items())})"
    with contextlib.suppress(ConfigError):
        simulate(SWITCH, MODEL, text, steps=2)


def test_a_colon_gives_the_first_option() -> None:
    assert parse("ring:1 MB") == parse("all_reduce:ring(bucket=1 MB)") == parse("ring(bucket='1 MB')")
    assert parse("zero2") == parse("zero2(overlap=true)")
