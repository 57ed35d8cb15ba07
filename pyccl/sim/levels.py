"""Rings whose messages do not all take equally long, and the hierarchical all_reduce: without events, where exact.

What makes it exact: the messages of one step share links only with messages that begin and end with them, so that
their rates never change. Then every message of an edge takes the same time in every step.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pyccl.algorithms import get_algorithm
from pyccl.sim.case import Case, Floats, Ints, Traffic
from pyccl.sim.cluster import Cluster
from pyccl.sim.nodes import NodeType

_STEPS = {"all_reduce": 2, "reduce_scatter": 1, "all_gather": 1}
_MOST_KINDS = 64  # of messages that differ in how long they take


class Messages:
    """The messages of a step, for any number of bytes.

    Parameters
    ----------
    cluster : Cluster
    source, destination : array of int, shape (n,)
        Ranks.
    edge : array of int, shape (n,)
        Numbers the neighbours: messages of one edge run side by side in every step.
    """

    def __init__(self, cluster: Cluster, source: Ints, destination: Ints, edge: Ints) -> None:
        self.edge = edge
        self._ends, links = cluster.routes(source, destination)
        message = np.repeat(np.arange(len(source)), np.diff(self._ends, prepend=0))
        self.users: Ints = np.bincount(links, minlength=len(cluster.bandwidth))
        total = np.bincount(message, weights=cluster.latency[links], minlength=len(source))
        self.latency: Floats = total.astype(np.float64)
        self.alone = self._slowest(cluster.bandwidth[links])
        self.shared = self._slowest(cluster.bandwidth[links] / self.users[links])
        self._steady = _alike(self.shared[message], links)  # else what one message leaves, another would take
        self._together = _alike(edge[message].astype(float), links)

    def _slowest(self, rates: Floats) -> Floats:
        starts = np.append(0, self._ends[:-1])
        return np.minimum.reduceat(rates, starts) if len(rates) else np.full(len(starts), np.inf)

    def seconds(self, nbytes: float, *, shared: bool = True) -> Floats | None:
        """Return the seconds of each message, or None if their rates would change under way.

        Without `shared` every message has the links of its way for itself.
        """
        if shared and not self._steady:
            return None
        seconds = self.latency + nbytes / (self.shared if shared else self.alone)
        together = (self._together or not shared) and _alike(seconds, self.edge)
        return seconds if together or np.ptp(seconds) == 0 else None


def _alike(value: Floats, group: NDArray[np.integer]) -> bool:
    """Whether all of each group have one value."""
    if not len(value):
        return True
    of_group = np.empty(int(group.max()) + 1)
    of_group[group] = value
    return bool((of_group[group] == value).all())


def around(seconds: Floats, steps: int) -> Floats:
    """Return when each rank of a ring has taken the last of its `steps` messages; `seconds[r]` is of those to rank r.

    A message leaves when the one before it on its edge has arrived, and when its sender has taken the message that it
    passes on: ``end[r, s] = max(end[r, s - 1], end[r - 1, s - 1]) + seconds[r]``. The longest chain that ends at r
    comes from one edge upstream, stays there as long as it can, and then walks down.

    Examples
    --------
    >>> around(np.array([1.0, 3.0, 1.0, 1.0]), 4)
    array([ 6., 12., 10.,  8.])
    """
    size, before = len(seconds), np.concatenate([[0.0], np.cumsum(np.tile(seconds, 2))])
    here = np.arange(size, 2 * size)
    end = np.zeros(size)
    for value in np.unique(seconds):
        places = np.where(np.tile(seconds == value, 2), np.arange(2 * size), -1)
        nearest = np.maximum.accumulate(places)[size:]
        walked = here - nearest
        chain = before[here + 1] - before[nearest] + (steps - 1 - walked) * value
        end = np.maximum(end, np.where(walked < steps, chain, 0))
    return end


def ring_over_edges(case: Case) -> Floats | None:
    """Return when each rank of a ring on any cluster ends; None where that is not so simple."""
    if len(case.starts) > 1 or case.gamma > 0 or case.algorithm != "ring":
        return None
    ranks = np.arange(case.cluster.size, dtype=np.int64)
    finish = rings(ring_messages(case.cluster, ranks[None, :]), case.collective, case.nbytes, len(ranks))
    return None if finish is None else case.starts[0] + finish


def ring_messages(cluster: Cluster, groups: Ints) -> Messages:
    """Return the messages of a step of equal groups that all run a ring at once, shape (groups, members)."""
    edge = np.tile(np.arange(groups.shape[1], dtype=np.int64), len(groups))
    return Messages(cluster, np.roll(groups, 1, axis=1).reshape(-1), groups.reshape(-1), edge)


def rings(messages: Messages, collective: str, nbytes: int, size: int, *, shared: bool = True) -> Floats | None:
    """Return when each of the `size` members of a group ends a ring; None where that is not so simple."""
    if size < 2 or nbytes % size or collective not in _STEPS:
        return None
    if not get_algorithm(collective, "ring").function.__module__.startswith("pyccl.algorithms."):
        return None
    seconds = messages.seconds(nbytes / size, shared=shared)
    if seconds is None or len(np.unique(seconds)) > _MOST_KINDS:
        return None
    taken = around(seconds[:size], _STEPS[collective] * (size - 1))
    return np.maximum(taken, np.roll(taken, -1))  # its own last message must be taken, too


def hierarchical(case: Case, *, shared: bool = True) -> Floats | None:
    """Return when each rank of a hierarchical all_reduce on equal hosts ends; None where that is not so simple.

    The two phases within a host are those of a host alone, by events; between the hosts equal rings run side by side.
    Without `shared` every message between hosts has the links of its way for itself.
    """
    cluster = case.cluster
    node = cluster.nodes[0]
    hosts, each = cluster.hosts, node.gpus_per_host
    simple = case.algorithm == "hierarchical" and case.collective == "all_reduce" and cluster.topology != "graph"
    alike = len({(n.gpus_per_host, n.intra, n.intra_latency) for n in cluster.nodes}) == 1
    if not (simple and alike) or cluster.half_duplex:
        return None
    if hosts < 2 or len(case.starts) > 1 or case.nbytes % cluster.size:
        return None
    ranks = np.arange(cluster.size).reshape(hosts, each)
    host = np.broadcast_to(np.arange(hosts)[:, None], ranks.shape).reshape(-1)
    chunk = case.nbytes / cluster.size
    messages = Messages(cluster, np.roll(ranks, 1, axis=0).reshape(-1), ranks.reshape(-1), host)
    seconds = messages.seconds(chunk, shared=shared)
    if seconds is None or len(np.unique(seconds)) > _MOST_KINDS:
        return None
    between = seconds.reshape(hosts, each)[:, 0]
    if np.ptp(between) == 0:
        taken = np.full(hosts, 2 * (hosts - 1) * between[0] + (hosts - 1) * case.gamma * chunk)
    elif case.gamma == 0:
        taken = around(between, 2 * (hosts - 1))
        taken = np.maximum(taken, np.roll(taken, -1))
    else:
        return None
    first, last = (_within(node, what, case.nbytes, case.gamma) for what in ("reduce_scatter", "all_gather"))
    finish: Floats = case.starts[0] + first.max() + taken[:, None] + last[None, :]
    return finish.reshape(-1)


def hierarchical_traffic(case: Case) -> Traffic:
    """Return source, destination and bytes of every pair of ranks, where `hierarchical` applies."""
    hosts, size = case.cluster.hosts, case.cluster.size
    each = size // hosts
    ranks = np.arange(size)
    source, place = np.repeat(ranks, each), np.tile(np.arange(each), size)
    destination = source - source % each + place
    within = source != destination
    inside = np.full(int(within.sum()), 2 * case.nbytes / each)
    across = np.full(size, 2 * (hosts - 1) * case.nbytes / size)
    return (
        np.concatenate([source[within], ranks]),
        np.concatenate([destination[within], (ranks + each) % size]),
        np.concatenate([inside, across]),
    )


@lru_cache(maxsize=256)
def _within(node: NodeType, collective: str, nbytes: int, gamma: float) -> Floats:
    """Return when the ranks of one host end a phase of the hierarchical all_reduce."""
    if node.gpus_per_host == 1:
        return np.zeros(1)
    host = Cluster("switch", hosts=1, nic=node.nic, latency=node.latency, gpus_per_host=node.gpus_per_host,
                   intra=node.intra, intra_latency=node.intra_latency)  # fmt: skip
    phase = Case(host, collective, "hierarchical", nbytes, 0, np.zeros(1), gamma, None)
    return phase.run(folded=False, most_events=0)[0]
