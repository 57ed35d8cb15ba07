"""Draws: known answers, moments, and that nobody's numbers depend on anybody else's."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyccl import _core
from pyccl.errors import ConfigError
from pyccl.sim import Distribution, Workers
from pyccl.sim.distribution_shapes import KINDS

MANY = (np.arange(100_000) + 0.5) / 100_000
TEXTS = [
    "constant(200 ms)", "uniform(low=1 s, high=2 s)", "uniform(cv=0.3)", "normal(mean=1 s, cv=0.4)", "normal(cv=0.1)",
    "lognormal(mean=180 ms, cv=0.15)", "lognormal(cv=0.5)", "exponential(shift=100 ms, mean=180 ms)",
    "exponential(mean=2 s)", "shifted_exponential(cv=0.5)", "gamma(cv=0.5)", "gamma(mean=1 s, shape=0.3)",
    "gamma(cv=0.02)", "pareto(cv=0.2)", "pareto(shape=12)", "weibull(cv=0.5)", "weibull(mean=2 s, shape=3)",
]  # fmt: skip


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ([0] * 4, 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([0xFFFFFFFF] * 4, (1 << 64) - 1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], 0x299F31D0A4093822, "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_its_authors_answers(counter: list[int], key: int, answer: str) -> None:
    assert " ".join(f"{word:08x}" for word in _core.sim_philox(counter, key)) == answer


@pytest.mark.parametrize("text", TEXTS)
def test_a_distribution_has_the_moments_that_it_states(text: str) -> None:
    made = Distribution.parse(text)
    values = made.quantile(MANY)
    assert (np.diff(values) >= 0).all()
    assert values.mean() == pytest.approx(made.mean(), rel=1e-3)
    assert values.std() / values.mean() == pytest.approx(made.cv(), rel=5e-3, abs=1e-9)
    again = Distribution.parse(str(made))
    assert (str(again), again.quantile(MANY).tolist()) == (str(made), values.tolist())


@pytest.mark.parametrize(
    ("text", "mean", "cv"),
    [
        ("lognormal(mean=180 ms, cv=0.15)", 0.18, 0.15),
        ("gamma(mean=3 s, cv=0.7)", 3, 0.7),
        ("pareto(mean=3 s, cv=0.7)", 3, 0.7),
        ("weibull(mean=3 s, cv=0.7)", 3, 0.7),
        ("uniform(mean=3 s, cv=0.5)", 3, 0.5),
        ("exponential(shift=1 s, mean=3 s)", 3, 2 / 3),
        ("lognormal(cv=0.25)", 1, 0.25),
    ],
)
def test_mean_and_cv_are_what_was_asked_for(text: str, mean: float, cv: float) -> None:
    made = Distribution.parse(text)
    assert (made.mean(), made.cv()) == pytest.approx((mean, cv), rel=1e-9)


def test_normal_quantiles_are_exact() -> None:
    values = Distribution.parse("lognormal(mean=1 s, cv=1)").quantile(MANY)
    sigma = math.sqrt(math.log(2))
    want = [math.exp(-(sigma**2) / 2 + sigma * NormalDist().inv_cdf(u)) for u in MANY[::1000]]
    assert values[::1000].tolist() == pytest.approx(want, rel=1e-13)


@pytest.mark.parametrize("shape", [0.3, 1.0, 4.0, 100.0])
def test_gamma_quantiles_undo_its_distribution_function(shape: float) -> None:
    """Numerical integration of the density up to the quantile gives the share back."""
    share = np.array([0.05, 0.5, 0.9, 0.999])
    for u, x in zip(share, Distribution.parse(f"gamma(mean={shape} s, shape={shape})").quantile(share), strict=True):
        t = np.linspace(0, 1, 400_001)[1:] ** 8 * x  # dense near 0, where the density may be infinite
        density = np.exp((shape - 1) * np.log(t) - t - math.lgamma(shape))
        below = t[0] ** shape / math.gamma(shape + 1)
        assert below + np.trapezoid(density, t) == pytest.approx(u, rel=1e-6)


def test_an_empirical_file(tmp_path: Path) -> None:
    path = tmp_path / "times.txt"
    path.write_text("# seconds\n0.3\n0.1\n\n0.2  # a remark\n")
    made = Distribution.parse(f"empirical({path})")
    assert made.quantile([0.25, 0.5, 0.75]).tolist() == pytest.approx([0.15, 0.2, 0.25])
    assert made.mean() == pytest.approx(0.2)
    scaled = Distribution.parse(f"empirical({path}, mean=2 s)")
    assert scaled.mean() == pytest.approx(2)
    assert Distribution.parse(str(scaled)) == scaled
    path.write_text("0.1\nfast\n")
    with pytest.raises(ConfigError, match=r"times.txt:2: 'fast' is no number"):
        Distribution.parse(f"empirical({path})")


# --- workers


def test_numbers_depend_on_seed_worker_and_step_alone() -> None:
    workers = Workers(compute="gamma(cv=0.4)", slowness="markov(slow=3, enter=0.1, leave=0.3)", slow={1: 2.0})
    all_ = workers.times(8, 100, 0.1, seed=5)
    assert workers.times(8, 100, 0.1, seed=5).tolist() == all_.tolist()
    assert workers.times(3, 100, 0.1, seed=5).tolist() == all_[:3].tolist()
    for first in (1, 50, 99):
        assert workers.times(8, 100 - first, 0.1, seed=5, first=first).tolist() == all_[:, first:].tolist()
    assert (workers.times(8, 100, 0.1, seed=6) != all_).any()
    plain = Workers(compute="gamma(cv=0.4)", slowness="markov(slow=3, enter=0.1, leave=0.3)")
    assert all_[1].tolist() == (plain.times(8, 100, 0.1, seed=5)[1] * 2).tolist()


def test_a_wider_distribution_is_slow_where_a_narrow_one_is() -> None:
    narrow, wide = (Workers(compute=f"lognormal(cv={cv})").times(4, 500, 1.0, seed=2) for cv in (0.1, 0.5))
    assert (np.argsort(narrow, axis=1) == np.argsort(wide, axis=1)).all()


def test_slowness_is_a_markov_chain() -> None:
    workers = Workers(slowness="markov(slow=2, enter=0.02, leave=0.1)")
    slow = workers.times(2000, 300, 1.0, seed=3) > 1.5
    enter = slow[:, 1:][~slow[:, :-1]].mean()
    leave = 1 - slow[:, 1:][slow[:, :-1]].mean()
    assert (enter, leave) == pytest.approx((0.02, 0.1), rel=0.05)
    assert slow[:, 100:].mean() == pytest.approx(0.02 / 0.12, rel=0.05)
    assert slow[:, 0].mean() == pytest.approx(0.02, rel=0.3)  # all are fast before the first step


@pytest.mark.parametrize("workers", [1, 8, 64])
def test_the_slowest_of_exponential_workers(workers: int) -> None:
    """The expected maximum of N exponential times of mean 1 is the N-th harmonic number."""
    longest = Workers(compute="exponential(mean=1 s)").times(workers, 40_000, 1.0, seed=9).max(axis=0)
    harmonic = sum(1 / n for n in range(1, workers + 1))
    assert longest.mean() == pytest.approx(harmonic, abs=5 * longest.std() / math.sqrt(40_000))


@settings(max_examples=50, deadline=None)
@given(u=st.floats(1e-15, 1 - 1e-15), v=st.floats(1e-15, 1 - 1e-15), text=st.sampled_from(TEXTS))
def test_quantiles_are_finite_and_ordered(u: float, v: float, text: str) -> None:
    low, high = Distribution.parse(text).quantile(sorted((u, v)))
    assert 0 <= low <= high < math.inf


# --- bad input


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lognormal", "write for example"),
        ("lognorm(cv=1)", "did you mean 'lognormal'"),
        ("gamma(cvv=1)", "did you mean 'cv'"),
        ("lognormal(mean=180, cv=-1)", "at least 0"),
        ("normal(cv=0.9)", "write lognormal or gamma"),
        ("uniform(low=2 s, high=1 s)", "low must be at least 0 and at most high"),
        ("uniform(low=1 s)", "write low and high"),
        ("uniform(low=1 s, high=2)", "mixes times with and without a unit"),
        ("uniform(cv=0.9)", "at most 0.577"),
        ("exponential(shift=2 s, mean=1 s)", "shift must be at most mean"),
        ("pareto(shape=1)", "has no mean"),
        ("gamma(cv=1, shape=2)", "contradict"),
        ("weibull(shape=1e9)", "between 0.05"),
        ("constant(3 parsecs)", "no unit"),
        ("gamma(cv=a)", "must be a number"),
        ("gamma(cv=1, cv=2)", "twice"),
        ("constant(nan)", "at least 0"),
        ("lognormal(mean=0 s)", "above 0"),
        ("empirical(/nowhere/at/all)", "No such file"),
        ("empirical(file='times.txt')", r"write the file alone: empirical\(times.txt\)"),
    ],
)
def test_a_bad_distribution_is_one_clear_error(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Distribution.parse(text)


@pytest.mark.parametrize(
    ("settings_", "says"),
    [
        ({"slow": {8: 2.0}}, r"rank 8 is not in \[0, 8\)"),
        ({"slow": {0: 0}}, "above 0"),
        ({"slow": [1]}, "must map ranks"),
        ({"slow": {"a": 1.0}}, "whole number"),
        ({"slowness": "markov(slw=2)"}, "did you mean 'slow'"),
        ({"slowness": "weather"}, r"write markov\("),
        ({"slowness": "markov(enter=2)"}, "from 0 to 1"),
        ({"slowness": "markov(enter=0.1, leave=0)"}, "leave above 0"),
        ({"availability": "diurnal(mean=0.5, swing=0.6)"}, "above 0"),
        ({"mtbf": "3"}, "no unit"),
        ({"mtbf": 0}, "above 0"),
        ({"domain": 0}, "at least 1"),
        ({"repair": "soon"}, "no distribution"),
        ({"compute": "normal"}, "compute: 'normal'"),
    ],
)
def test_bad_workers_are_one_clear_error(settings_: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Workers(**settings_).times(8, 2, 1.0, seed=0)


def test_a_seed_has_64_bits() -> None:
    with pytest.raises(ConfigError, match="seed must be in"):
        Workers().times(1, 1, 1.0, seed=-1)


def test_every_distribution_is_in_the_docs() -> None:
    page = (Path(__file__).parents[1] / "docs" / "simulator.md").read_text()
    assert not [kind for kind in KINDS if f"`{kind}(" not in page]
