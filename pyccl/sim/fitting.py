"""Fits a few positive parameters to measurements: damped Gauss-Newton with a loss that outliers cannot bend."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Residuals = Callable[[Floats], Floats]

STEPS = 100
TYPICAL = 0.05
"""Residual from which on a point loses weight; residuals are relative errors."""
LARGEST = 50.0


def minimise(residuals: Residuals, start: Floats, *, typical: float = TYPICAL) -> tuple[Floats, float]:
    """Return the parameters that minimise the pseudo-Huber loss of `residuals`, and the loss.

    Levenberg's damping and forward differences; each step is at most 1 in every parameter, which suits logarithms.

    Parameters
    ----------
    residuals : callable
        From parameters, shape (k,), to residuals, shape (n,); what is not finite counts as very large.
    start : array of float, shape (k,)
    typical : float
        Where the loss turns from squares to absolute values.

    Examples
    --------
    >>> x = np.arange(1.0, 9.0)
    >>> best, _ = minimise(lambda p: np.exp(p[0]) * x / (3 * x) - 1, np.zeros(1))
    >>> round(float(np.exp(best[0])), 6)
    3.0
    """

    def of(point: Floats) -> Floats:
        with np.errstate(all="ignore"):
            return np.clip(np.nan_to_num(residuals(point), nan=LARGEST), -LARGEST, LARGEST)

    def loss(values: Floats) -> float:
        return float(np.sum(np.sqrt(1 + (values / typical) ** 2) - 1))

    point = np.asarray(start, dtype=float)
    values, damping = of(point), 1e-2
    cost = loss(values)
    for _ in range(STEPS):
        slopes = np.stack([(of(point + h) - values) / 1e-5 for h in 1e-5 * np.eye(len(point))], axis=1)
        weights = 1 / np.sqrt(1 + (values / typical) ** 2)
        normal, downhill = slopes.T @ (weights[:, None] * slopes), slopes.T @ (weights * values)
        found = None
        for _ in range(12):
            system = normal + damping * np.diag(np.diag(normal) + 1e-9)
            trial = point - np.clip(np.linalg.solve(system, downhill), -1, 1)
            trial_values = of(trial)
            if (trial_cost := loss(trial_values)) < cost:
                found = trial, trial_values, trial_cost
                break
            damping *= 4
        if found is None:
            break
        gain = cost - found[2]
        point, values, cost = found
        damping = max(damping / 3, 1e-9)
        if gain < 1e-9 * cost:
            break
    return point, cost


def fit_to_prior(
    relative: Residuals, centre: Floats, spread: Floats, weight: float, *, restarts: int = 3
) -> Floats:  # fmt: skip
    """Return the logarithms of parameters that fit best, each held near what is known of it beforehand.

    Parameters
    ----------
    relative : callable
        From logarithms, shape (k,), to relative errors, shape (n,).
    centre, spread : array of float, shape (k,)
        Prior of each logarithm: mean and standard deviation.
    weight : float
        Residual that one standard deviation off the centre counts as.
    restarts : int
        Starts around the centre, drawn from a fixed seed; the best fit is taken.
    """
    draws = np.random.Generator(np.random.Philox(0))

    def both(point: Floats) -> Floats:
        return np.concatenate([relative(point), weight * (point - centre) / spread])

    best: tuple[Floats, float] | None = None
    for k in range(restarts):
        start = centre + (0.7 * draws.standard_normal(len(centre)) if k else 0)
        found = minimise(both, start)
        if best is None or found[1] < best[1]:
            best = found
    assert best is not None
    return best[0]
