"""What failures cost a job: checkpoints, lost work, restarts, spares, going on with fewer workers."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pyccl.errors import ConfigError
from pyccl.sim.checkpoints import checkpoints
from pyccl.sim.cluster import Cluster
from pyccl.sim.failures import KINDS, Failures, failures, most_frequent
from pyccl.sim.failures import rate as failures_per_second
from pyccl.sim.job import CATEGORIES, Run
from pyccl.sim.quantity import Quantity, parse
from pyccl.sim.settings import SettingError
from pyccl.sim.workers import Workers

Floats = NDArray[np.float64]

POLICIES = ("restart", "shrink")
_RECOVERY = CATEGORIES.index("recovery")
_MOST_DOUBLINGS = 8
_PREEMPTION = KINDS.index("preemption")
_LEAST = 1e-9  # a notice of nothing is none


@dataclass(frozen=True)
class Recovery:
    """What a job does when something fails.

    Attributes
    ----------
    policy : {"restart", "shrink"}
        Go back to the last checkpoint with as many workers as before; or repeat the step without those that are gone,
        until they are back.
    checkpoint : float or str
        Seconds that all stand still for a checkpoint.
    interval : float or str
        Seconds of work between two, or "young" or "daly": the best from `checkpoint` and the time between failures.
    detect, restart : float or str
        Seconds until a failure is noticed, and from then until all train again (with fewer workers, too).
    spares : int
        Hosts or devices that stand by; with one of them a failure costs no wait for `Workers.repair`.
    """

    policy: str = "restart"
    checkpoint: Quantity = 0.0
    interval: Quantity = "young"
    detect: Quantity = "10 s"
    restart: Quantity = "60 s"
    spares: int = 0

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ConfigError(f"policy must be one of {', '.join(POLICIES)}, got {self.policy!r}")
        if self.interval not in ("young", "daly"):
            object.__setattr__(self, "interval", parse(self.interval, "time", "interval"))
        for name in ("checkpoint", "detect", "restart"):
            object.__setattr__(self, name, parse(getattr(self, name), "time", name))
        if not isinstance(self.spares, int) or isinstance(self.spares, bool) or self.spares < 0:
            raise ConfigError(f"spares must be a whole number of at least 0, got {self.spares!r}")

    @property
    def down(self) -> float:
        """Seconds from a failure until all train again."""
        return float(self.detect) + float(self.restart)

    def between(self, rate: float) -> float:
        """Return the seconds of work between checkpoints at `rate` failures a second; infinite: none is made.

        "young" is sqrt(2 C M), C seconds a checkpoint and M between failures (Young 1974, doi:10.1145/361147.361115);
        "daly" its higher order (Daly 2006, doi:10.1016/j.future.2004.11.016).
        """
        if not isinstance(self.interval, str):
            return self.interval if self.interval > 0 else math.inf
        cost = float(self.checkpoint)
        if rate <= 0:
            return math.inf
        young = math.sqrt(2 * cost / rate)
        if self.interval == "young" or cost * rate >= 2:
            return young if self.interval == "young" else 1 / rate
        part = cost * rate / 2
        return young * (1 + math.sqrt(part) / 3 + part / 9) - cost


@dataclass(frozen=True)
class Recovered:
    """A job with its failures.

    Attributes
    ----------
    run : Run
    failures : int
        That the job has met.
    lost, down, saving : float
        Seconds of work done twice, of standing still, and of checkpoints.
    complete : bool
        False if the failures given ended before the job: more are needed.
    """

    run: Run
    failures: int
    lost: float
    down: float
    saving: float
    complete: bool


def with_failures(run: Run, workers: Workers, cluster: Cluster, recovery: Recovery, seed: int) -> Recovered:
    """Return what becomes of a run whose devices and hosts fail as `workers` says.

    Raises
    ------
    ConfigError
        If no worker is left, or failures come faster than the job gets on.
    """
    rate, horizon = failures_per_second(workers, cluster), 2 * run.makespan + 10 * recovery.down
    for _ in range(_MOST_DOUBLINGS):
        found = recover(run, recovery, failures(workers, cluster, horizon, seed), rate, horizon)
        if found.complete:
            break
        horizon *= 2
    else:
        raise SettingError(
            most_frequent(workers, cluster),
            f"failures every {1 / rate:g} s are too many for this job to end: it would take more than {horizon:g} s; "
            f"give a longer mtbf, or shorter restart, detect and interval",
        )
    note = (
        f"{found.failures} failures: {found.lost:.4g} s of work done again, {found.down:.4g} s standing still, "
        f"{found.saving:.4g} s for checkpoints"
    )
    return replace(found, run=replace(found.run, notes=(*found.run.notes, note)))


def recover(run: Run, recovery: Recovery, met: Failures, rate: float, horizon: float) -> Recovered:
    """Return what becomes of a run that meets failures.

    Steps take as long as in `run`; one that is interrupted is done again. A failure while the job stands still makes it
    start over with that. With the policy "shrink" a step of fewer workers takes as long and counts for fewer samples.

    Parameters
    ----------
    run : Run
    recovery : Recovery
    met : Failures
        Up to `horizon` seconds.
    rate : float
        Failures a second, for the interval between checkpoints.

    Raises
    ------
    ConfigError
        If no worker is left.
    """
    walk = _Shrink if recovery.policy == "shrink" else _Walk
    return walk(run, recovery, met, recovery.between(rate)).walk(horizon)


class _Walk:
    """Back to the last checkpoint, with as many workers.

    Points of the work are times at which they would be reached if nothing failed; `offset` is how much later they are.
    """

    def __init__(self, run: Run, recovery: Recovery, met: Failures, between: float) -> None:
        self.run, self.recovery, self.met = run, recovery, met
        ends, cost = np.sort(run.step_ends), float(recovery.checkpoint)
        made = checkpoints(ends, between)
        self.ends = ends + cost * np.searchsorted(made, np.arange(len(ends)))
        self.saved = np.concatenate([[0.0], self.ends[made] + cost])
        self.saving = len(made) * cost
        self.work = run.makespan + self.saving
        self.spares = recovery.spares
        self.whole: list[float] = []  # when spares are whole again

    def walk(self, horizon: float) -> Recovered:
        lost, down, count, until = 0.0, 0.0, 0, 0.0
        pieces = [(0.0, 0.0)]  # from which point of the work on which offset holds
        told = (self.met.kind == _PREEMPTION) & (self.met.notice >= max(float(self.recovery.checkpoint), _LEAST))
        columns = (self.met.time, self.met.repair, self.met.first, self.met.first + self.met.ranks, told)
        for time, repair, first, last, noticed in zip(*(column.tolist() for column in columns), strict=True):
            place, offset = pieces[-1]
            if time >= self.work + offset:
                break
            if self.is_gone(time, first, last):
                continue
            count += 1
            if time >= until:  # it does not stand still already
                reached = time - offset
                place = max(self.back_to(reached), self.saved_in_time(reached) if noticed else 0.0)
                lost += reached - place
            spare = self.takes_spare(time, repair)
            pause = self.recovery.down - (float(self.recovery.detect) if noticed else 0.0)
            ready = max(until, time + pause + (0.0 if spare else self.loses(time, repair, first, last)))
            down += ready - max(time, until)
            until = ready
            pieces.append((place, ready - place))
        shift, last = np.zeros_like(self.ends), len(self.ends)
        for place, offset in reversed(pieces):  # a later piece has done again what lies behind its place
            first = int(np.searchsorted(self.ends, place, side="right"))
            if first < last:
                shift[first:last], last = offset, first
        makespan = self.work + pieces[-1][1]
        run = _longer(self.run, makespan, self.ends + shift, 1 + lost / self.work if self.work else 1.0)
        run = replace(run, samples=self.run.samples * self.share(run.step_ends))
        return Recovered(run, count, lost, down, self.saving, makespan <= horizon)

    def back_to(self, reached: float) -> float:
        """Return the point of the work from which it is done again."""
        return float(self.saved[np.searchsorted(self.saved, reached, side="right") - 1])

    def saved_in_time(self, reached: float) -> float:
        """Return the last end of a step after which a checkpoint still fits, as the notice of a preemption lets it."""
        step = int(np.searchsorted(self.ends, reached - float(self.recovery.checkpoint), side="right"))
        return float(self.ends[step - 1]) if step else 0.0

    def is_gone(self, time: float, first: int, last: int) -> bool:
        """Whether all devices from `first` to `last` are away already, so that nothing happens."""
        del time, first, last
        return False

    def takes_spare(self, time: float, repair: float) -> bool:
        """Put a spare in the place of what has failed, which will be a spare when it is repaired."""
        while self.whole and self.whole[0] <= time:
            heapq.heappop(self.whole)
            self.spares += 1
        if self.spares == 0:
            return False
        self.spares -= 1
        if math.isfinite(repair):
            heapq.heappush(self.whole, time + repair)
        return True

    def loses(self, time: float, repair: float, first: int, last: int) -> float:
        """Return for how long the job waits for what has failed, besides `Recovery.down`."""
        del time, first, last
        return max(0.0, repair - self.recovery.down) if math.isfinite(repair) else 0.0

    def share(self, step_ends: Floats) -> float:
        """Return the share of all samples that were used."""
        del step_ends
        return 1.0


class _Shrink(_Walk):
    """On without those that are gone, until they are back; the step under way is done again."""

    def __init__(self, run: Run, recovery: Recovery, met: Failures, between: float) -> None:
        super().__init__(run, recovery, met, between)
        self.starts = np.concatenate([[0.0], self.ends])
        self.size = len(run.categories)
        self.until = np.full(self.size, -math.inf)  # when each device that is away is back
        self.changes: list[tuple[float, int]] = []  # when how many leave, or are back

    def back_to(self, reached: float) -> float:
        return float(self.starts[np.searchsorted(self.starts, reached, side="right") - 1])

    def is_gone(self, time: float, first: int, last: int) -> bool:
        away = self.until[first:last]
        return bool(len(away)) and bool((away > time).all())

    def loses(self, time: float, repair: float, first: int, last: int) -> float:
        away = self.until[first:last]
        for device in np.flatnonzero(away < time + repair).tolist():
            self.changes += [(max(time, float(away[device])), -1), (time + repair, 1)]
        np.maximum(away, time + repair, out=away)
        if (self.until > time).all():
            raise SettingError(
                "failures", f"after {time:g} s no worker is left; give repair or spares, or a longer mtbf"
            )
        return 0.0

    def share(self, step_ends: Floats) -> float:
        if not self.changes or not len(step_ends):
            return 1.0
        when, change = (np.array(column) for column in zip(*sorted(self.changes), strict=True))
        begins = step_ends - np.diff(self.ends, prepend=0.0)
        here = np.concatenate([[0], np.cumsum(change)])[np.searchsorted(when, begins, side="right")]
        return float(np.clip(self.size + here, 0, self.size).mean()) / self.size


def _longer(run: Run, makespan: float, step_ends: Floats, again: float) -> Run:
    """Return a run that takes longer, and moves more bytes: what is added is recovery."""
    table = run.categories.copy()
    table[:, _RECOVERY] += makespan - run.makespan
    return replace(run, makespan=makespan, step_ends=step_ends, categories=table, link_bytes=run.link_bytes * again)
