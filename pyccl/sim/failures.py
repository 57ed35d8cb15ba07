"""When what fails: devices, hosts, failure domains, and hosts that are taken away."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyccl import _core
from pyccl.sim.cluster import Cluster
from pyccl.sim.distributions import Distribution
from pyccl.sim.settings import SettingError
from pyccl.sim.workers import Workers

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

KINDS = ("device", "host", "domain", "preemption")
_SETTINGS = ("mtbf", "node_mtbf", "domain_mtbf", "preemption")
_FAILURES, _PREEMPTION = 2, 3  # streams of csrc/sim/random.h
_NUMBERS = 1 << 28  # of one kind's entities; csrc/sim/heap.h has as many ranks
_MOST = 10_000_000


@dataclass(frozen=True)
class Failures:
    """Failures in order of time, as columns.

    Attributes
    ----------
    time : array of float
        Seconds.
    kind : array of int
        Index in `KINDS`.
    index : array of int
        Which device, host, domain, or host taken away.
    first, ranks : array of int
        The first device that is gone with it, and how many are.
    repair : array of float
        Seconds until it is back; infinite where `Workers.repair` is not given.
    notice : float
        Seconds by which a preemption is told before.
    """

    time: Floats
    kind: Ints
    index: Ints
    first: Ints
    ranks: Ints
    repair: Floats
    notice: float = 0.0


@dataclass(frozen=True)
class _Kind:
    """Things of one kind: how often one fails, how many there are, and how many devices each takes along."""

    number: int
    mtbf: float
    ranks: Ints
    shape: float

    def between(self, u: Floats) -> Floats:
        """Return the seconds until the next failure: the quantile `u` of a Weibull distribution."""
        scale = self.mtbf / math.gamma(1 + 1 / self.shape)
        return np.asarray(scale * (-np.log1p(-u)) ** (1 / self.shape))

    @property
    def stream(self) -> int:
        return _PREEMPTION if KINDS[self.number] == "preemption" else _FAILURES


def rate(workers: Workers, cluster: Cluster) -> float:
    """Return how many failures a second there are in the whole cluster."""
    return math.fsum(len(kind.ranks) / kind.mtbf for kind in _kinds(workers, cluster))


def most_frequent(workers: Workers, cluster: Cluster) -> str:
    """Return the setting of `workers` that makes most failures."""
    return _SETTINGS[max(_kinds(workers, cluster), key=lambda kind: len(kind.ranks) / kind.mtbf).number]


def failures(workers: Workers, cluster: Cluster, horizon: float, seed: int) -> Failures:
    """Return what fails within `horizon` seconds.

    The times between the failures of one thing are exponential, or Weibull with `Workers.shape`. They depend on it and
    the seed alone, so that more hosts, or a longer horizon, change nothing of the rest.

    Raises
    ------
    ConfigError
        If more than ten million failures would happen.
    """
    if rate(workers, cluster) * horizon > _MOST:
        name = most_frequent(workers, cluster)
        least = 2 * getattr(workers, name) * rate(workers, cluster) * horizon / _MOST
        raise SettingError(name, f"more than {_MOST} failures in {horizon:g} s; write {name} = '{least:.2g} s' or more")
    columns: list[tuple[Floats, Ints, Ints, Ints, Ints, Floats]] = []
    for kind in _kinds(workers, cluster):
        first = np.cumsum(kind.ranks) - kind.ranks
        who, now, count = np.arange(len(kind.ranks)), np.zeros(len(kind.ranks)), 0
        while len(who):
            numbers = (kind.number * _NUMBERS + who).astype(np.uint32)
            now = now + kind.between(_core.sim_uniform(seed, numbers, 2 * count, kind.stream))
            inside = now <= horizon
            who, now, numbers = who[inside], now[inside], numbers[inside]
            repair = _repair(workers, seed, numbers, 2 * count + 1, kind.stream)
            columns.append((now, np.full(len(who), kind.number), who, first[who], kind.ranks[who], repair))
            count += 1
    if not columns:
        none = np.empty(0, np.int64)
        return Failures(np.empty(0), none, none, none, none, np.empty(0))
    time, number, index, begin, ranks, repair = (np.concatenate(column) for column in zip(*columns, strict=True))
    order = np.lexsort((index, number, time))
    return Failures(time[order], number[order], index[order], begin[order], ranks[order], repair[order],
                    float(workers.notice))  # fmt: skip


def _kinds(workers: Workers, cluster: Cluster) -> list[_Kind]:
    devices = np.bincount(cluster.host_of, minlength=cluster.hosts)
    domains = np.add.reduceat(devices, np.arange(0, cluster.hosts, workers.domain))
    all_ = (
        (workers.mtbf, np.ones(cluster.size, np.int64)),
        (workers.node_mtbf, devices),
        (workers.domain_mtbf, domains),
        (workers.preemption, devices),
    )
    return [
        _Kind(n, float(mtbf), ranks, 1.0 if KINDS[n] == "preemption" else workers.shape)
        for n, (mtbf, ranks) in enumerate(all_) if mtbf is not None
    ]  # fmt: skip


def _repair(workers: Workers, seed: int, numbers: NDArray[np.uint32], count: int, stream: int) -> Floats:
    if workers.repair is None or not len(numbers):
        return np.full(len(numbers), math.inf)
    assert isinstance(workers.repair, Distribution)
    return workers.repair.quantile(_core.sim_uniform(seed, numbers, count, stream))
