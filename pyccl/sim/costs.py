"""What messages and collectives of a training step cost on a cluster, split by cause; each found once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from pyccl.errors import ConfigError
from pyccl.sim.case import Case
from pyccl.sim.cluster import Cluster
from pyccl.sim.collective import simulate_collective
from pyccl.sim.group_play import Floats, GroupPlay, Ints
from pyccl.sim.levels import Messages, hierarchical, hierarchical_traffic, rings

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


_THREE = ((0, False), (1, False), (1, True))
"""Without bytes, with bytes but without sharing, with both."""


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
            Bytes of the large side, of each group; rounded up to a multiple of its members.
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
        whole, members = groups.shape == everyone.shape, groups.shape[1]
        if members == 1:
            return Cost(0.0, 0.0, 0.0, np.zeros(len(self.cluster.bandwidth)))
        nbytes = -(-nbytes // members) * members  # buckets are padded to equal chunks
        if self.cluster.uniform is not None:
            return self._uniform(collective, algorithm, nbytes, groups, whole)
        if algorithm == "ring" and (cost := self._rings(collective, nbytes, groups)) is not None:
            return cost
        if algorithm == "hierarchical" and whole and (cost := self._hierarchical(collective, nbytes)) is not None:
            return cost
        return self._played(collective, algorithm, nbytes, groups)

    def _uniform(self, collective: str, algorithm: str, nbytes: int, groups: Ints, whole: bool) -> Cost:
        """Nobody shares links, so that one group stands for all."""
        latency, rate = self.cluster.uniform or (0.0, 0.0)
        alone = self.cluster if whole else Cluster.switch(groups.shape[1], rate, latency / 2)
        latency, seconds = (
            simulate_collective(alone, collective, real, algorithm=algorithm).time for real in (0, nbytes)
        )
        moved = self._play(collective, algorithm, groups[:1]).link_bytes(nbytes, groups)
        return _cost(latency, seconds, seconds, moved)

    def _rings(self, collective: str, nbytes: int, groups: Ints) -> Cost | None:
        key, members = ("ring", groups.shape, groups.tobytes()), groups.shape[1]
        messages: Messages = self._once(key, lambda: Messages(self.cluster, groups))
        ends = [rings(messages, collective, nbytes * real, shared=shared) for real, shared in _THREE]
        latency, unshared = (None if end is None else float(end.max()) for end in ends[:2])
        if latency is None or unshared is None:
            return None
        # Where rates change under way, every message is an event.
        end = ends[2] if ends[2] is not None else self._play(collective, "ring", groups).seconds(nbytes)
        seconds = float(np.max(end))
        each = (2 if collective == "all_reduce" else 1) * (members - 1) * (nbytes / members)
        return _cost(latency, unshared, seconds, each * messages.users)

    def _hierarchical(self, collective: str, nbytes: int) -> Cost | None:
        cases = [Case(self.cluster, collective, "hierarchical", nbytes * real, 0, np.zeros(1), 0.0, None)
                 for real in (0, 1)]  # fmt: skip
        ends = [hierarchical(cases[real], shared=shared) for real, shared in _THREE]
        if any(end is None for end in ends):
            return None
        source, destination, traffic = hierarchical_traffic(cases[1])
        crossed, links = self.cluster.routes(source, destination)
        weights = np.repeat(traffic, np.diff(crossed, prepend=0))
        moved = np.bincount(links, weights=weights, minlength=len(self.cluster.bandwidth)).astype(np.float64)
        latency, unshared, seconds = (float(end.max()) for end in ends if end is not None)
        return _cost(latency, unshared, seconds, moved)

    def _played(self, collective: str, algorithm: str, nbytes: int, groups: Ints) -> Cost:
        """Every message, as an event."""
        hosts = self.cluster.host_of[groups]
        apart = len(groups) > 1 and len(self.cluster.nodes) == 1 and bool((hosts == hosts[:, :1]).all())
        shown = groups[:1] if apart else groups  # groups inside equal hosts neither differ nor meet
        play = self._play(collective, algorithm, shown)
        ends = (play.seconds(0, shared=False), play.seconds(nbytes, shared=False), play.seconds(nbytes))
        return _cost(*ends, play.link_bytes(nbytes, groups))

    def _play(self, collective: str, algorithm: str, groups: Ints) -> GroupPlay:
        key = ("play", collective, algorithm, groups.shape, groups.tobytes())
        play: GroupPlay = self._once(key, lambda: GroupPlay(self.cluster, collective, algorithm, groups))
        return play

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
