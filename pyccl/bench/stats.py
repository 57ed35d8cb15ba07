"""Order statistics of one case's times, and the linear cost model fitted to many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

P99_FROM = 100
"""Iterations from which a 99th percentile is one; with fewer the maximum is reported."""


@dataclass(frozen=True)
class Sample:
    """Times of one case in seconds; each iteration's is the maximum over the ranks."""

    median: float
    p99: float
    iterations: int


def summarise(times: NDArray[np.float64] | Sequence[float]) -> Sample:
    """Return the median and the 99th percentile (from 100 times, else the maximum) of `times`."""
    array = np.asarray(times, np.float64)
    if array.size == 0:
        raise ValueError("no times to summarise")
    tail = np.percentile(array, 99, method="higher") if array.size >= P99_FROM else array.max()
    return Sample(float(np.median(array)), float(tail), int(array.size))


@dataclass(frozen=True)
class Line:
    """time = alpha + beta * nbytes, with the relative errors of the points it was fitted to."""

    alpha: float
    beta: float
    median_error: float
    max_error: float

    def time(self, nbytes: float) -> float:
        """Return the modelled time in seconds."""
        return self.alpha + self.beta * nbytes


def fit_line(nbytes: Sequence[float], seconds: Sequence[float], rounds: int = 20) -> Line:
    """Fit alpha (s) and beta (s/byte), both >= 0, by relative least squares that outliers cannot bend.

    Each residual is relative to its time, so that 8 bytes weigh as much as 64 MiB; points whose residual is far
    beyond the typical one lose weight (Huber, tuned at 1.345 scaled median deviations).

    Raises
    ------
    ValueError
        If there are fewer than two different sizes or a time is not positive.
    """
    x, t = np.asarray(nbytes, np.float64), np.asarray(seconds, np.float64)
    if np.unique(x).size < 2 or not (t > 0).all():
        raise ValueError("a fit needs two different sizes and positive times")
    design = np.stack([1 / t, x / t], axis=1)
    weights = np.ones_like(t)
    alpha = beta = 0.0
    for _ in range(rounds):
        alpha, beta = _non_negative(design, weights)
        residuals = np.abs(design @ np.array([alpha, beta]) - 1)
        scale = max(1.4826 * float(np.median(residuals)), 1e-12)
        weights = np.minimum(1.0, 1.345 * scale / np.maximum(residuals, 1e-300))
    return Line(alpha, beta, float(np.median(residuals)), float(residuals.max()))


def _non_negative(design: NDArray[Any], weights: NDArray[Any]) -> tuple[float, float]:
    """Weighted least squares of design @ (alpha, beta) = 1 with both parameters >= 0."""
    root = np.sqrt(weights)
    scale = np.linalg.norm(design, axis=0)  # alpha and beta differ by many orders of magnitude
    a, b = np.linalg.lstsq(design * root[:, None] / scale, root, rcond=None)[0] / scale
    if a >= 0 and b >= 0:
        return float(a), float(b)
    column = 0 if b < 0 else 1
    only = design[:, column]
    best = float((weights * only).sum() / (weights * only * only).sum())
    return (best, 0.0) if column == 0 else (0.0, best)
