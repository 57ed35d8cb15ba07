"""How many steps and samples a target takes: the gradient noise scale, and a penalty for staleness beside it.

S steps of batch B reach a target when ``S = S_min (1 + B_noise / B)``, and the samples are ``E = S B``, hence
``(S / S_min - 1) (E / E_min - 1) = 1`` with ``E_min = S_min B_noise``: McCandlish et al. 2018, "An empirical model of
large-batch training", arXiv:1812.06162, equations 2.11 and 2.12.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyccl.errors import ConfigError
from pyccl.sim.job import Floats

if TYPE_CHECKING:
    from pyccl.sim.training_result import Result


@dataclass(frozen=True)
class NoiseScale:
    """Steps and samples to a target.

    Attributes
    ----------
    noise : float
        B_noise in samples: the batch at which steps and samples are both twice their least.
    least_steps : float
        S_min: steps to the target with a batch without end.
    penalty : float
        What a version of mean staleness adds to the part of the steps that is not noise, as a share of it. An
        assumption, not a measurement: for quadratic losses the largest stable step, and with it the progress of
        noiseless descent, falls as 1/(1 + 2 staleness), while delay leaves the noise alone (Agarwal and Duchi 2011,
        arXiv:1104.5525); 1 stands for learning rates below the largest.

    Examples
    --------
    >>> model = NoiseScale(noise=1000, least_steps=500)
    >>> model.steps(1000), model.samples(1000), model.steps(1000, staleness=3)
    (1000.0, 1000000.0, 2500.0)
    """

    noise: float
    least_steps: float
    penalty: float = 1.0

    def __post_init__(self) -> None:
        for name in ("noise", "least_steps", "penalty"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0) or (name == "least_steps" and value == 0):
                raise ConfigError(f"{name} must be finite and {'above' if name == 'least_steps' else 'at least'} 0, "
                                  f"got {value!r}")  # fmt: skip

    def steps(self, batch: float, staleness: float = 0.0) -> float:
        """Return the steps to the target with `batch` samples a step and gradients of this mean staleness."""
        return self.least_steps * (1 + self.penalty * staleness + self.noise / batch)

    def samples(self, batch: float, staleness: float = 0.0) -> float:
        """Return the samples to the target."""
        return self.steps(batch, staleness) * batch

    def efficiency(self, batch: float) -> float:
        """Return the least samples to the target over those with `batch`."""
        return self.noise / (self.noise + batch) if self.noise else 0.0

    def seconds(self, result: Result) -> float:
        """Return the seconds to the target at a result's pace, batch and staleness: time-to-accuracy."""
        if not result.run.updates:
            return math.inf
        return self.steps(result.run.samples / result.run.updates, result.mean_staleness) * result.step_time

    @classmethod
    def fit(cls, batches: Sequence[float], steps: Sequence[float], penalty: float = 1.0) -> NoiseScale:
        """Return the model of least relative error for measured steps to one target.

        Raises
        ------
        ConfigError
            If there are fewer than two batch sizes, or more samples a step do not mean fewer steps.
        """
        b, s = np.asarray(batches, dtype=float), np.asarray(steps, dtype=float)
        if len(set(b.tolist())) < 2 or b.shape != s.shape or not ((b > 0) & (s > 0)).all():
            raise ConfigError("a fit needs the steps, above 0, of at least two batch sizes")
        rows = np.stack([1 / s, 1 / (b * s)], axis=1)
        (least, most), *_ = np.linalg.lstsq(rows, np.ones(len(b)), rcond=None)
        if most <= 0:
            raise ConfigError("larger batches do not take fewer steps here: no noise scale fits")
        if least <= 0:  # in the noise throughout: the largest batch bounds what is left
            least = float((s * b).min() / b.max() * 1e-3)
        return cls(float(most / least), float(least), penalty)


@dataclass(frozen=True)
class Curve:
    """A measured training: accuracy by iteration, and the gradient's statistics.

    Attributes
    ----------
    batch : int
    iteration, metric, grad_sqr, grad_var : array of float, shape (n,)
    """

    batch: int
    iteration: Floats
    metric: Floats
    grad_sqr: Floats
    grad_var: Floats

    def steps_to(self, target: float) -> float:
        """Return the iterations until `metric` reaches `target` for the first time, interpolated; infinite if never."""
        reached = np.flatnonzero(self.metric >= target)
        if not len(reached):
            return math.inf
        i = int(reached[0])
        if i == 0:
            return float(self.iteration[0])
        below, above = self.metric[i - 1], self.metric[i]
        share = (target - below) / (above - below)
        return float(self.iteration[i - 1] + share * (self.iteration[i] - self.iteration[i - 1]))


def read_curves(folder: str | Path) -> list[Curve]:
    """Read ``validation-<batch>.csv`` of a folder: iteration, metric, grad_sqr, grad_var; smallest batch first.

    Raises
    ------
    ConfigError
        If there is none, or one is damaged.
    """
    found = []
    for path in Path(folder).glob("validation-*.csv"):
        columns = ("iteration", "metric", "grad_sqr", "grad_var")
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = [[float(row[name]) for name in columns] for row in csv.DictReader(file)]
            table = np.array(rows, dtype=float).reshape(-1, len(columns))
            batch = int(path.stem.partition("-")[2])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path}: {error!r}; write the columns {', '.join(columns)}") from None
        if not len(table) or not np.isfinite(table).all() or batch < 1:
            raise ConfigError(f"{path}: needs rows of finite numbers, and a batch in its name")
        found.append(Curve(batch, *table.T))
    if not found:
        raise ConfigError(f"{folder}: no validation-<batch>.csv in it")
    return sorted(found, key=lambda curve: curve.batch)


def fit_curves(curves: Sequence[Curve], target: float, penalty: float = 1.0) -> NoiseScale:
    """Return the noise scale that fits the steps that measured curves take to a target accuracy.

    Raises
    ------
    ConfigError
        If fewer than two reach it.
    """
    steps = [curve.steps_to(target) for curve in curves]
    pairs = [(curve.batch, taken) for curve, taken in zip(curves, steps, strict=True) if math.isfinite(taken)]
    if len(pairs) < 2:
        best = sorted(float(curve.metric.max()) for curve in curves)
        raise ConfigError(f"fewer than two curves reach {target}; the best of each are {best}: choose a lower target")
    return NoiseScale.fit([batch for batch, _ in pairs], [taken for _, taken in pairs], penalty)
