"""Laws of the bench: inputs are exact, what it computes from times is right, what it prints and writes holds."""

from __future__ import annotations

import numpy as np
import pytest

from pyccl.bench import calibrate, models
from pyccl.bench.cases import DTYPES, NAMES, OPS, Case, defined, expectation, make_cases, round_count
from pyccl.bench.data import PERIOD, Pattern, contributions, dtype_of, largest_exact, phase, reduced
from pyccl.bench.runner import batches, share
from pyccl.bench.stats import fit_line, summarise
from pyccl.bench.units import format_size, format_time, parse_size


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("8", 8), ("0", 0), ("1K", 1024), ("64M", 64 << 20), ("64MiB", 64 << 20), ("1.5 mb", 3 << 19), (" 2G ", 2 << 30)],
)
def test_parse_size(text, nbytes):
    assert parse_size(text) == nbytes


@pytest.mark.parametrize("text", ["", "-1", "1.5", "8X", "K", "1e3", "nan", "8 8"])
def test_parse_size_refuses(text):
    with pytest.raises(ValueError, match="not a"):
        parse_size(text)


@pytest.mark.parametrize("nbytes", [1, 8, 1023, 1024, 32 << 10, 64 << 20, 3 << 30])
def test_format_size_is_read_back(nbytes):
    assert parse_size(format_size(nbytes)) == pytest.approx(nbytes, rel=1e-3)


def test_format_time_keeps_the_unit_readable():
    assert [format_time(t) for t in (7e-7, 4.2e-5, 0.0117, 3.0)] == ["0.70 us", "42.0 us", "11.7 ms", "3.00 s"]


@pytest.mark.parametrize("model", models.MODELS)
def test_model_has_the_published_number_of_parameters(model):
    assert sum(tensor.elements for tensor in models.gradients(model)) == models.PARAMETERS[model]


def test_models_have_the_known_number_of_tensors():
    counts = {model: len(models.gradients(model)) for model in models.MODELS}
    assert counts == {"resnet50": 161, "vgg16": 32, "bert-large": 398, "gpt2": 148, "llama-7b-layer": 9}


def test_bert_without_its_pretraining_heads():
    encoder = [t for t in models.gradients("bert-large") if not t.name.startswith(("mlm", "nsp"))]
    assert sum(tensor.elements for tensor in encoder) == 335_141_888


@pytest.mark.parametrize("capacity", [1, 7, 100, 10_000])
def test_buckets_lose_nothing_and_overflow_only_for_one_tensor(capacity):
    counts = [int(n) for n in np.random.default_rng(1).integers(1, 300, 60)]
    fused = models.buckets(counts, capacity)
    assert sum(fused) == sum(counts)
    assert all(size <= capacity or size in counts for size in fused)


def test_p99_is_one_only_from_100_times():
    assert summarise(list(range(1, 100))).p99 == 99
    assert summarise(list(range(1, 1001))).p99 == 991
    assert summarise([3.0, 1.0, 2.0]).median == 2.0


def test_fit_recovers_alpha_and_beta_through_noise_and_outliers():
    rng = np.random.default_rng(2)
    sizes = np.array([8 << (2 * k) for k in range(12)], float)
    times = (2e-6 + 1.25e-10 * sizes) * rng.normal(1, 0.02, sizes.size)
    times[[2, 7]] *= 5
    line = fit_line(sizes.tolist(), times.tolist())
    assert line.alpha == pytest.approx(2e-6, rel=0.05)
    assert line.beta == pytest.approx(1.25e-10, rel=0.05)
    assert line.median_error < 0.05 < line.max_error


def test_fit_is_never_negative():
    assert fit_line([1, 2, 4, 8], [8.0, 4.0, 2.0, 1.0]).beta == 0
    assert fit_line([1, 2, 4, 8], [0.5, 1.9, 4.2, 8.8]).alpha >= 0


@pytest.mark.parametrize("points", [([8], [1.0]), ([8, 8], [1.0, 2.0]), ([8, 16], [0.0, 1.0])])
def test_fit_refuses_what_has_no_line(points):
    with pytest.raises(ValueError, match="two different sizes"):
        fit_line(*points)


def test_gamma_is_what_reducing_adds():
    sizes = [8 << (2 * k) for k in range(12)]
    moved = [1e-6 + 1e-10 * n for n in sizes]
    reducing = [1e-6 + 1.4e-10 * n for n in sizes]
    transport = calibrate.make_transport("shm", sizes, moved, reducing)
    assert transport.gamma == pytest.approx(4e-11, rel=1e-6)
    assert all(share == pytest.approx(1) for _, share in transport.efficiency())


@pytest.mark.parametrize("size", [1, 2, 3, 8, 17, 64, 300])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_op_is_exact_on_its_inputs(dtype, size):
    kind = dtype_of(dtype)
    for op in (op for op in OPS if defined(op, dtype)):
        inputs = contributions(kind, op, size)
        result = reduced(inputs, op)
        assert result.dtype == kind
        if op in ("sum", "premul_sum") and kind.kind not in "b":
            factor = 2 if op == "premul_sum" else 1
            exact = sum(int(v.real) for v in inputs[:, 0].tolist()) * factor
            assert exact == int(np.asarray(result[0]).real)
            assert exact <= largest_exact(kind)


def test_bfloat16_is_exact_and_average_divides():
    inputs = contributions(dtype_of("bfloat16"), "avg", 8).astype(np.float64)
    assert np.array_equal(reduced(inputs.astype(dtype_of("bfloat16")), "avg").astype(float), inputs.sum(0) / 8)


@pytest.mark.parametrize("count", [0, 1, PERIOD - 1, PERIOD, 3 * PERIOD + 5, 40 * PERIOD])
def test_pattern_finds_every_wrong_element(count):
    pattern = Pattern(contributions(np.dtype(np.float32), "sum", 2)[0])
    x = np.empty(count, np.float32)
    pattern.fill(x, phase(3))
    assert pattern.wrong(x, phase(3)) == 0
    if count:
        x[count // 2] += 1
        x[-1] += 1
        assert pattern.wrong(x, phase(3)) == (2 if count > 1 else 1)


def test_a_stale_or_shifted_result_is_wrong():
    pattern = Pattern(contributions(np.dtype(np.float32), "sum", 2)[0])
    x = np.empty(1 << 16, np.float32)
    pattern.fill(x, phase(1))
    for shift in (phase(0), phase(2), phase(1) + 4096, phase(1) + 1):
        assert pattern.wrong(x, shift) > x.size // 2


def test_sampling_reads_every_block_in_turn():
    pattern = Pattern(contributions(np.dtype(np.int32), "sum", 1)[0])
    x = np.empty(1 << 20, np.int32)
    found = 0
    for shift in range(8):
        pattern.fill(x, shift)
        x[500_000] += 1
        found += pattern.wrong(x, shift, sample=8)
    assert found == 1


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("kind", [name for name in NAMES if name != "barrier"])
def test_expectations_agree_with_an_independent_oracle(kind, size):
    op = "sum" if kind in ("all_reduce", "reduce", "reduce_scatter") else "none"
    n = round_count(kind, 4 * 1000, 4, size)
    case = Case(kind, "float32", op, n, size)
    c = case.share
    sides = [expectation(case, rank) for rank in range(size)]
    xs = [np.zeros(case.counts(rank)[0], np.float32) for rank in range(size)]
    for side, x in zip(sides, xs, strict=True):
        side.fill(x, 7)
    outs = {
        "all_reduce": lambda r: sum(xs),
        "reduce": lambda r: sum(xs) if r == 0 else np.empty(0, np.float32),
        "reduce_scatter": lambda r: sum(xs)[r * c : (r + 1) * c],
        "broadcast": lambda r: xs[0],
        "all_gather": lambda r: np.concatenate(xs),
        "gather": lambda r: np.concatenate(xs) if r == 0 else np.empty(0, np.float32),
        "scatter": lambda r: xs[0][r * c : (r + 1) * c],
        "all_to_all": lambda r: np.concatenate([x[r * c : (r + 1) * c] for x in xs]),
        "sendrecv": lambda r: xs[(r - 1) % size],
    }
    for rank, side in enumerate(sides):
        out = np.array(outs[kind](rank), np.float32)
        assert out.size == case.counts(rank)[1]
        assert side.wrong(out, 7) == 0


def test_sizes_too_small_for_every_rank_are_rounded_and_named_once():
    cases = make_cases(
        ["reduce_scatter"], [8, 16, 32, 64], dtypes=["float32"], ops=["sum"], algorithms={}, size=8
    )  # fmt: skip
    assert [case.nbytes for case in cases] == [32, 64]


@pytest.mark.parametrize("counts", [[4, 4], [1000, 7], [3, 1], [5]])
def test_batches_alternate_and_add_up(counts):
    parts = list(batches(counts))
    assert [sum(column) for column in zip(*parts, strict=True)] == counts
    assert all(min(part) >= 1 for part in parts)


def test_share_of_the_budget_has_bounds():
    assert share(1.0, 0.1) == 4
    assert share(1e-9, 10) == 1000
    assert share(0.01, 1.0) == 100
