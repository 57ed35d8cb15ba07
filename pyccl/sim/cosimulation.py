"""Real gradients at simulated instants: what a way of training does to the loss, against simulated time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pyccl.errors import ConfigError
from pyccl.sim.job import Applied, Floats, Job, Run

Parameters = NDArray[Any]


class Problem(Protocol):
    """What is to be minimised. A gradient must depend on nothing but its arguments: then runs repeat bit for bit."""

    learning_rate: float

    def init(self) -> Parameters:
        """Return the first parameters, shape (n,)."""

    def gradient(self, parameters: Parameters, worker: int, number: int) -> Parameters:
        """Return the gradient of a worker's mini-batch `number` (0, 1, …), shape (n,)."""

    def loss(self, parameters: Parameters) -> float:
        """Return the loss."""


@dataclass(frozen=True)
class LossCurve:
    """Losses at simulated instants.

    Attributes
    ----------
    time : array of float, shape (n,)
        Seconds; the first is 0.
    version : array of int, shape (n,)
        Updates made until then.
    loss : array of float, shape (n,)
    parameters : array
        The last ones.
    """

    time: Floats
    version: NDArray[np.int64]
    loss: Floats
    parameters: Parameters

    def to_dict(self) -> dict[str, list[float]]:
        """Return the curve as JSON has it."""
        return {"time_s": self.time.tolist(), "version": self.version.tolist(), "loss": self.loss.tolist()}

    def time_to(self, loss: float) -> float:
        """Return the seconds until the loss is at most `loss` for the first time; infinite if it never is."""
        reached = np.flatnonzero(self.loss <= loss)
        return float(self.time[reached[0]]) if len(reached) else float("inf")


class Logistic:
    """Logistic regression on synthetic data; every worker draws mini-batches of its own from all of it.

    Parameters
    ----------
    samples, features, batch : int
    learning_rate : float
    seed : int

    Examples
    --------
    >>> problem = Logistic(samples=100, features=5)
    >>> round(problem.loss(problem.init()), 4)
    0.6931
    """

    def __init__(self, samples: int = 4096, features: int = 50, *, batch: int = 32, learning_rate: float = 0.5,
                 seed: int = 0) -> None:  # fmt: skip
        draw = np.random.default_rng(seed)
        self.learning_rate, self._batch, self._seed = learning_rate, batch, seed
        self._x = draw.standard_normal((samples, features)) * np.logspace(0, -1, features)
        chance = 1 / (1 + np.exp(-3 * self._x @ draw.standard_normal(features)))
        self._y = (draw.random(samples) < chance).astype(float)

    def init(self) -> Parameters:
        """Return zeros."""
        return np.zeros(self._x.shape[1])

    def gradient(self, parameters: Parameters, worker: int, number: int) -> Parameters:
        """Return the gradient of the mean loss over a mini-batch drawn for (worker, number)."""
        rows = np.random.Generator(np.random.Philox(key=self._seed, counter=[worker, number, 0, 0]))
        chosen = rows.integers(len(self._y), size=self._batch)
        x, y = self._x[chosen], self._y[chosen]
        found: Parameters = x.T @ (1 / (1 + np.exp(-x @ parameters)) - y) / self._batch
        return found

    def loss(self, parameters: Parameters) -> float:
        """Return the mean loss over all samples."""
        z = self._x @ parameters
        return float(np.mean(np.logaddexp(0, z) - self._y * z))


def cosimulate(job: Job, run: Run, problem: Problem, points: int = 200) -> LossCurve:
    """Apply real gradients in the order, and computed on the versions, that a run has.

    Gradients that make the same version are averaged. The loss is computed at some `points` versions.

    Raises
    ------
    ConfigError
        If the run does not say which gradients it applied.
    """
    applied = run.applied or _synchronous(job, run)
    order = np.argsort(applied.made, kind="stable")
    made, read = applied.made[order], applied.read[order]
    workers, instants = applied.worker[order], applied.time[order]
    starts = np.flatnonzero(np.diff(made, prepend=made[0] - 1 if len(made) else 0))
    # A version is forgotten when nobody will read it or an earlier one any more.
    needed = np.minimum.accumulate(read[::-1])[::-1] if len(read) else read
    parameters = problem.init()
    versions, forgotten, drawn = {0: parameters}, 0, dict[int, int]()
    curve = [(0.0, 0, problem.loss(parameters))]
    every = max(1, len(starts) // points)
    for k, (begin, end) in enumerate(zip(starts.tolist(), [*starts[1:].tolist(), len(made)], strict=True)):
        total = np.zeros_like(parameters)
        for i in range(begin, end):
            worker = int(workers[i])
            number = drawn[worker] = drawn.get(worker, -1) + 1
            total = total + problem.gradient(versions[int(read[i])], worker, number)
        parameters = parameters - problem.learning_rate * total / (end - begin)
        versions[int(made[begin])] = parameters
        while end < len(made) and forgotten < needed[end]:
            versions.pop(forgotten, None)
            forgotten += 1
        if (k + 1) % every == 0 or end == len(made):
            curve.append((float(instants[begin:end].max()), int(made[begin]), problem.loss(parameters)))
    times, numbers, losses = (np.array(column) for column in zip(*curve, strict=True))
    ends = np.sort(run.step_ends)
    if len(ends) == numbers[-1]:  # failures have moved the versions, not the gradients
        times = np.concatenate([[0.0], ends])[numbers]
    return LossCurve(times, numbers, losses, parameters)


def _synchronous(job: Job, run: Run) -> Applied:
    """Return the updates of a run in which every worker's gradient is part of each."""
    size, updates = len(run.categories), run.updates
    if run.staleness is not None or run.samples != updates * size * job.model.batch or len(run.step_ends) != updates:
        raise ConfigError("this strategy does not say which gradients it applies; a problem needs one that does")
    version = np.repeat(np.arange(updates, dtype=np.int64), size)
    worker = np.tile(np.arange(size, dtype=np.int64), updates)
    return Applied(np.repeat(np.sort(run.step_ends), size), worker, version, version + 1)
