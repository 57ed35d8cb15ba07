"""Noise scale and co-simulation: closed forms, measured curves, and losses that order and staleness decide."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyccl.errors import ConfigError
from pyccl.sim.convergence import NoiseScale, fit_curves, read_curves
from pyccl.sim.cosimulation import Logistic
from pyccl.sim.simulate import simulate
from tests.training import MODEL, cluster

batches = st.lists(st.integers(1, 10**6), min_size=2, max_size=5, unique=True)


class Quadratic:
    """Half the square: with gradients of staleness t, x[n + 1] = x[n] - rate * x[n - t]."""

    learning_rate = 0.25

    def init(self) -> np.ndarray:
        return np.ones(1)

    def gradient(self, parameters: np.ndarray, worker: int, number: int) -> np.ndarray:
        return parameters

    def loss(self, parameters: np.ndarray) -> float:
        return float(parameters @ parameters / 2)


@given(st.floats(1, 1e6), st.floats(1, 1e6), batches)
def test_a_fit_of_the_model_is_the_model(noise: float, least: float, sizes: list[int]) -> None:
    model = NoiseScale(noise, least)
    again = NoiseScale.fit(sizes, [model.steps(b) for b in sizes])
    for b in sizes:
        assert again.steps(b) == pytest.approx(model.steps(b), rel=1e-4)


def test_the_law_of_steps_and_samples() -> None:
    """(S / S_min - 1)(E / E_min - 1) = 1, McCandlish 2018, equation 2.11."""
    model = NoiseScale(noise=300, least_steps=50)
    for batch in (1, 30, 300, 1e5):
        s, e = model.steps(batch) / 50, model.samples(batch) / (50 * 300)
        assert (s - 1) * (e - 1) == pytest.approx(1)
    assert model.efficiency(300) == 0.5
    assert model.steps(300, staleness=2) - model.steps(300) == pytest.approx(100)


def test_time_to_accuracy() -> None:
    result = simulate(cluster(), MODEL, "fake", steps=5)  # 40 samples in 1.5 s
    assert NoiseScale(40, 100).seconds(result) == pytest.approx(200 * 1.5)
    stale = simulate(cluster(), MODEL, "fake(stale=1)", steps=5)  # 10 samples in 1.5 s
    assert NoiseScale(40, 100).seconds(stale) == pytest.approx(600 * 1.5)


def test_fit_of_measured_curves(tmp_path: Path) -> None:
    model = NoiseScale(1000, 400)
    for batch in (100, 800, 3200):
        n = model.steps(batch)
        rows = [f"{i},{i},{0.9 * min(1, i / n):.17g},1,2" for i in np.linspace(0, 1.5 * n, 400)]
        (tmp_path / f"validation-{batch}.csv").write_text(
            "progress,iteration,metric,grad_sqr,grad_var\n" + "\n".join(rows)
        )
    curves = read_curves(tmp_path)
    assert [curve.batch for curve in curves] == [100, 800, 3200]
    found = fit_curves(curves, 0.45)
    assert found.noise == pytest.approx(1000, rel=1e-3)
    assert found.least_steps == pytest.approx(200, rel=1e-3)
    with pytest.raises(ConfigError, match="choose a lower target"):
        fit_curves(curves, 0.95)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("validation-8.csv", "iteration,metric\n1,2\n", "write the columns iteration, metric, grad_sqr, grad_var"),
        ("validation-8.csv", "iteration,metric,grad_sqr,grad_var\n1,2,x,4\n", "could not convert"),
        ("validation-8.csv", "iteration,metric,grad_sqr,grad_var\n", "rows of finite numbers"),
        ("validation-8.csv", "iteration,metric,grad_sqr,grad_var\n1,nan,1,4\n", "rows of finite numbers"),
        ("validation-x.csv", "iteration,metric,grad_sqr,grad_var\n1,1,1,4\n", "invalid literal"),
        ("other.csv", "", "no validation-<batch>.csv"),
    ],
)
def test_damaged_curves(name: str, text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=re.escape(says)):
        read_curves(tmp_path)


@pytest.mark.parametrize("stale", [0, 1, 3])
def test_gradients_are_of_the_versions_that_were_read(stale: int) -> None:
    steps = 20
    curve = simulate(cluster(), MODEL, f"fake(stale={stale})", steps=steps, problem=Quadratic()).losses
    x = [1.0]
    for n in range(steps):
        x.append(x[n] - 0.25 * x[max(0, n - stale)])
    assert curve is not None
    assert curve.loss == pytest.approx(np.square(x) / 2)
    assert curve.version.tolist() == list(range(steps + 1))
    assert curve.time[0] == 0
    assert curve.time[-1] == pytest.approx(1.5 * steps)
    assert curve.time_to(0.2) == pytest.approx(1.5 * int(np.flatnonzero(np.square(x) / 2 <= 0.2)[0]))
    assert curve.time_to(-1) == math.inf


def test_co_simulation_repeats_bit_for_bit_and_learns() -> None:
    one, two = (simulate(cluster(), MODEL, "fake", steps=50, problem=Logistic()).losses for _ in range(2))
    assert one is not None
    assert two is not None
    assert np.array_equal(one.parameters, two.parameters)
    assert one.loss[-1] < 0.5 * one.loss[0]


def test_gradients_of_the_logistic_problem_are_those_of_its_loss() -> None:
    problem = Logistic(samples=64, features=4, batch=64)
    point, step = np.array([0.1, -0.2, 0.3, 0.0]), 1e-6
    mean = np.mean([problem.gradient(point, 0, k) for k in range(4000)], axis=0)
    slope = [(problem.loss(point + step * e) - problem.loss(point - step * e)) / (2 * step) for e in np.eye(4)]
    assert mean == pytest.approx(slope, abs=5e-3)
