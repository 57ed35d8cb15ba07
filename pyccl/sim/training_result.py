"""What a simulated training has brought."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyccl.sim import advice, pace, perfetto, plot, report
from pyccl.sim.job import CATEGORIES, Floats, Ints, Job, Run, Strategy
from pyccl.sim.memory import device_bytes
from pyccl.sim.strategies import text

if TYPE_CHECKING:
    from pyccl.sim.cosimulation import LossCurve


@dataclass(frozen=True)
class LinkUse:
    """What a link has carried: its name, bytes, and the share of its capacity that this was."""

    name: str
    nbytes: float
    utilisation: float


@dataclass(frozen=True, eq=False)
class Result:
    """The outcome of `simulate`.

    Attributes
    ----------
    job : Job
    strategy : Strategy
    run : Run
    losses : LossCurve or None
        With a problem: the loss against simulated time.
    """

    job: Job
    strategy: Strategy
    run: Run
    losses: LossCurve | None = None

    def __str__(self) -> str:
        return (
            f"{text(self.strategy)}: {self.job.model.name} on {self.workers} devices, "
            f"{self.step_time * 1e3:.4g} ms a step, {self.throughput:.4g} samples/s. {self.advice}"
        )

    # --- time

    @property
    def workers(self) -> int:
        """Devices that train."""
        return len(self.run.categories)

    @property
    def makespan(self) -> float:
        """Seconds of the whole job."""
        return self.run.makespan

    @property
    def step_time(self) -> float:
        """Seconds of the whole job, `tail` too, over the versions of the model."""
        return self.run.makespan / self.run.updates if self.run.updates else math.inf

    @cached_property
    def tail(self) -> float:
        """Seconds from the last version to the end: workers fetch it. With `step_times` it sums to the makespan."""
        return self.makespan - float(self.run.step_ends.max(initial=0.0))

    @cached_property
    def step_times(self) -> Floats:
        """Seconds from each version of the model to the next, shape (updates,)."""
        return np.diff(np.sort(self.run.step_ends), prepend=0.0)

    @cached_property
    def step_statistics(self) -> dict[str, float]:
        """Mean, median, p90, p99, min and max of `step_times`, in seconds."""
        if not len(self.step_times):
            return dict.fromkeys(("mean", "median", "p90", "p99", "min", "max"), math.inf)
        low, median, p90, p99, high = np.quantile(self.step_times, (0, 0.5, 0.9, 0.99, 1)).tolist()
        return {"mean": self.step_time, "median": median, "p90": p90, "p99": p99, "min": low, "max": high}

    @cached_property
    def throughput(self) -> float:
        """Useful samples per second; of asynchronous workers until the first has done its steps."""
        if (rate := pace.together(self.job, self.run)) is not None:
            return rate
        return self.run.samples / self.run.makespan if self.run.makespan else math.inf

    @cached_property
    def efficiency(self) -> float:
        """Throughput of a device over that of one healthy device that trains alone."""
        seconds = pace.alone(self.job)
        alone = self.job.model.batch / seconds if seconds else math.inf
        return self.throughput / (self.workers * alone)

    @cached_property
    def breakdown(self) -> dict[str, float]:
        """Seconds of the mean worker by category; they sum to the makespan exactly (`math.fsum`).

        Where not all take part at a time, "idle" is the time of those who do not.
        """
        parts: Floats = self.run.categories.mean(axis=0)
        found = dict(zip(CATEGORIES, parts.tolist(), strict=True))
        if self.run.idle is not None:
            found["idle"] = float(self.run.idle.mean())
            found["straggler"] = max(found["straggler"] - found["idle"], 0.0)
        largest = max(found, key=lambda name: found[name])
        for _ in range(4):  # the rest of rounding goes to the largest part
            found[largest] += self.run.makespan - math.fsum(found.values())
        return found

    @property
    def utilisation(self) -> float:
        """Share of the devices' time in which they compute."""
        return self.breakdown["compute"] / self.makespan if self.makespan else 0.0

    @property
    def goodput(self) -> float:
        """Share of the time that failures and what they bring have left: the effective training time."""
        return 1 - self.breakdown["recovery"] / self.makespan if self.makespan else 1.0

    # --- staleness

    @property
    def staleness(self) -> Ints | None:
        """Gradients applied by their staleness, or None where there is none."""
        return self.run.staleness

    @cached_property
    def mean_staleness(self) -> float:
        """Mean staleness of the gradients applied; 0 where there is none."""
        counts = self.run.staleness
        if counts is None or not counts.sum():
            return 0.0
        return float((np.arange(len(counts)) * counts).sum() / counts.sum())

    # --- what it takes

    def links(self, most: int | None = 20) -> list[LinkUse]:
        """Return the `most` busiest links that carried anything, the busiest first; None: all."""
        cluster, moved = self.job.cluster, self.run.link_bytes
        used = np.flatnonzero(moved)
        share = moved[used] / (cluster.bandwidth[used] * self.makespan) if self.makespan else np.zeros(len(used))
        order = np.argsort(-share, kind="stable")[:most]
        return [
            LinkUse(cluster.link_name(link), float(moved[link]), float(part))
            for link, part in zip(used[order].tolist(), share[order], strict=True)
        ]

    @property
    def memory(self) -> float:
        """Bytes that a device needs."""
        return self.run.memory

    @cached_property
    def device_memory(self) -> float:
        """Bytes that the smallest device has; infinite where neither cluster nor model says it."""
        return device_bytes(self.job.cluster, self.job.model)

    @property
    def fits(self) -> bool:
        """Whether a device has the memory that it needs."""
        return self.memory <= self.device_memory

    @cached_property
    def cost(self) -> float:
        """USD for all hosts from start to end, and for what leaves sites."""
        return self.job.cluster.price * self.makespan + self.job.cluster.egress(self.run.link_bytes)

    @property
    def priced(self) -> bool:
        """Whether the cluster has prices; without, `cost` is 0."""
        return bool(self.job.cluster.price or self.job.cluster.settings.get("egress"))

    @property
    def energy(self) -> float:
        """Joules of all hosts from start to end."""
        return self.job.cluster.power * self.makespan

    @cached_property
    def advice(self) -> str:
        """One sentence: what limits the job, and what would help most."""
        return advice.sentence(self)

    # --- files

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it; docs/simulator.md lists the keys."""
        return report.to_dict(self)

    def to_json(self, path: str | Path) -> None:
        """Write `to_dict` as JSON."""
        report.write_json(path, self.to_dict())

    def to_csv(self, path: str | Path) -> None:
        """Write a row per version of the model: step, end_s, seconds."""
        report.write_csv(path, report.step_columns(self))

    def to_parquet(self, path: str | Path) -> None:
        """Write the columns of `to_csv`; needs the extra parquet."""
        report.write_parquet(path, report.step_columns(self))

    def to_perfetto(self, path: str | Path) -> None:
        """Write what devices did when in the first `trace_steps` steps, for ui.perfetto.dev and chrome://tracing."""
        perfetto.write(path, self)

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw step times, breakdown and staleness; return the figure, and save it where `path` is given.

        Raises
        ------
        ConfigError
            If matplotlib, the extra plot, is missing.
        """
        return plot.save(plot.result(self), path)

    def to_html(self, path: str | Path) -> None:
        """Write one page with figures and pictures, which needs nothing else."""
        from pyccl.sim import html

        html.write(path, self)
