"""What messages and collectives of a training step cost on a cluster, split by cause; each found once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from pyccl.errors import ConfigError
from pyccl.sim.cluster import Cluster
from pyccl.sim.collective import simulate_collective
from pyccl.sim.group_play import Floats, GroupPlay, Ints

_KEPT = 512
LEVELS = 4
"""Networks that a step is simulated on: none, latency alone, no sharing, and the true one."""


@dataclass(frozen=True, eq=False)
class Cost:
    """Seconds of a communication, when all ranks begin together, and the bytes that it moves.

    Attributes
    ----------
    latency : float
        What it would take at infinite bandwidth.
    bandwidth : float
        What bytes add if no two messages share a link.
    contention : float
        What sharing adds.
    link_bytes : array of float, shape (links,)
    """

    latency: float
    bandwidth: float
    contention: float
    link_bytes: Floats

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.at(LEVELS - 1)

    def at(self, level: int) -> float:
        """Return the seconds on one of the `LEVELS`."""
        return sum((self.latency, self.bandwidth, self.contention)[:level])


def _cost(latency: float, unshared: float, seconds: float, link_bytes: Floats) -> Cost:
    """Sharing can let a later message pass, so that its price is below 0 by a little: it is then none."""
    unshared = min(max(unshared, latency), seconds)
    return Cost(min(latency, seconds), max(unshared - latency, 0.0), seconds - unshared, link_bytes)


class Network:
    """Costs on one cluster, kept."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._kept: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    def _once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        if key not in self._kept:
            self._kept[key] = make()
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def collective(self, collective: str, algorithm: str, nbytes: int, groups: Ints | None = None) -> Cost:
        """Return what a collective costs that all ranks run, or all `groups` at once, each within itself.

        Parameters
        ----------
        collective, algorithm : str
        nbytes : int
            Bytes of the large side, of each group.
        groups : array of int, shape (groups, members), optional

        Raises
        ------
        ConfigError
            If there is no such algorithm, or it does not serve groups of that size.
        """
        key = (collective, algorithm, nbytes, None if groups is None else (groups.shape, groups.tobytes()))
        try:
            cost: Cost = self._once(key, lambda: self._collective(collective, algorithm, nbytes, groups))
        except ConfigError:
            raise
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return cost

    def _collective(self, collective: str, algorithm: str, nbytes: int, groups: Ints | None) -> Cost:
        everyone = np.arange(self.cluster.size, dtype=np.int64)[None, :]
        groups = everyone if groups is None else groups
        if groups.shape[1] == 1:
            return Cost(0.0, 0.0, 0.0, np.zeros(len(self.cluster.bandwidth)))
        if self.cluster.uniform is None:
            return self._played(collective, algorithm, nbytes, groups)
        latency, rate = self.cluster.uniform
        whole = groups.shape == everyone.shape
        alone = self.cluster if whole else Cluster.switch(groups.shape[1], rate, latency / 2)
        result = simulate_collective(alone, collective, nbytes, algorithm=algorithm)
        least = simulate_collective(alone, collective, 0, algorithm=algorithm).time
        if whole:
            return _cost(least, result.time, result.time, result.link_bytes)
        moved = GroupPlay(self.cluster, collective, algorithm, groups[:1]).link_bytes(nbytes, groups)
        return _cost(least, result.time, result.time, moved)

    def _played(self, collective: str, algorithm: str, nbytes: int, groups: Ints) -> Cost:
        hosts = self.cluster.host_of[groups]
        apart = len(groups) > 1 and len(self.cluster.nodes) == 1 and bool((hosts == hosts[:, :1]).all())
        shown = groups[:1] if apart else groups  # groups inside equal hosts neither differ nor meet
        key = (collective, algorithm, shown.shape, shown.tobytes())
        play: GroupPlay = self._once(key, lambda: GroupPlay(self.cluster, collective, algorithm, shown))
        latency = self._once((*key, "latency"), lambda: play.seconds(0, shared=False))
        return _cost(latency, play.seconds(nbytes, shared=False), play.seconds(nbytes), play.link_bytes(nbytes, groups))

    def messages(self, source: Ints, destination: Ints, nbytes: int) -> Cost:
        """Return what messages of `nbytes` from `source[i]` to `destination[i]` cost that start together."""
        key = ("messages", nbytes, source.tobytes(), destination.tobytes())
        cost: Cost = self._once(key, lambda: self._messages(source, destination, nbytes))
        return cost

    def _messages(self, source: Ints, destination: Ints, nbytes: int) -> Cost:
        ends, links = self.cluster.routes(source, destination)
        starts = np.append(0, ends[:-1])
        latency, rate = self.cluster.latency[links], self.cluster.bandwidth[links]
        delay = np.add.reduceat(latency, starts)
        users = np.bincount(links, minlength=len(self.cluster.bandwidth))[links]
        alone = delay + nbytes / np.minimum.reduceat(rate, starts)
        # All have as many bytes, so the busiest link of a way, which all its users hold to the end, sets its pace.
        shared = delay + nbytes / np.minimum.reduceat(rate / users, starts)
        moved = np.bincount(links, minlength=len(self.cluster.bandwidth)).astype(np.float64) * nbytes
        return _cost(float(delay.max()), float(alone.max()), float(shared.max()), moved)


class _Same:
    """A cluster as a key: by identity, for clusters are mutable."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def __hash__(self) -> int:
        return id(self.cluster)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.cluster is self.cluster


@lru_cache(maxsize=8)
def _network(key: _Same) -> Network:
    return Network(key.cluster)


def network_of(cluster: Cluster) -> Network:
    """Return the costs of a cluster, those that earlier simulations have found among them."""
    return _network(_Same(cluster))
