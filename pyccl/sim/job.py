"""What is to be simulated, what came of it, and what a strategy is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pyccl.sim.cluster import Cluster
from pyccl.sim.model import Model
from pyccl.sim.workers import Workers

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CATEGORIES = ("compute", "straggler", "latency", "bandwidth", "contention", "recovery")
"""Where a worker's time goes: its own work; waiting for slower ones; messages' latency; their bytes at the rate of the
way when nobody else uses it; what sharing it adds; and what failures cost."""


@dataclass(frozen=True)
class Job:
    """A training job on a cluster.

    Attributes
    ----------
    cluster : Cluster
    model : Model
    workers : Workers or None
        How fast each is, and when it fails; None: all alike.
    steps : int
        Iterations of each worker.
    seed : int
    trace_steps : int
        Of so many first steps the spans are kept.
    """

    cluster: Cluster
    model: Model
    workers: Workers | None
    steps: int = 100
    seed: int = 0
    trace_steps: int = 0


@dataclass(frozen=True)
class Spans:
    """What ranks did when, as columns of equal length."""

    rank: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    kind: Sequence[str] = ()
    begin: Floats = field(default_factory=lambda: np.empty(0))
    end: Floats = field(default_factory=lambda: np.empty(0))
    step: Ints = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True)
class Applied:
    """Updates of the model in the order in which they were made, as columns: for statistics and co-simulation.

    Attributes
    ----------
    time : array of float
        Seconds.
    worker : array of int
    read, made : array of int
        Version that the gradient was computed on, and version that it made.
    """

    time: Floats
    worker: Ints
    read: Ints
    made: Ints


@dataclass(frozen=True)
class Run:
    """What a strategy's run of a job brought.

    Attributes
    ----------
    makespan : float
        Seconds from the start to the last worker's end.
    step_ends : array of float
        Seconds at which each new version of the model stood.
    categories : array of float, shape (workers, 6)
        Seconds of each worker by `CATEGORIES`; every row sums to the makespan.
    updates : int
        Versions made.
    samples : float
        Samples whose gradients were used.
    link_bytes : array of float, shape (links,)
    memory : float
        Bytes that a device needs for parameters, gradients, optimiser state and activations.
    staleness : array of int or None
        Number of gradients applied by their staleness: versions made between read and apply.
    dropped : int
        Gradients that were computed and not used.
    spans : Spans
    applied : Applied or None
    notes : tuple of str
        What the reader should know of the run.
    idle : array of float or None
        Seconds of each worker, among those of "straggler", in which it had no part in the job.
    """

    makespan: float
    step_ends: Floats
    categories: Floats
    updates: int
    samples: float
    link_bytes: Floats
    memory: float = 0.0
    staleness: Ints | None = None
    dropped: int = 0
    spans: Spans = field(default_factory=Spans)
    applied: Applied | None = None
    notes: tuple[str, ...] = ()
    idle: Floats | None = None


class Strategy(ABC):
    """How workers make one model of their gradients; subclasses are frozen dataclasses whose fields are the options."""

    name: ClassVar[str]

    @abstractmethod
    def run(self, job: Job) -> Run:
        """Simulate a job.

        Raises
        ------
        ConfigError
            If the job does not suit the strategy.
        """
