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
    """The messages of a step of rings that all run at once, for any number of bytes.

    Parameters
    ----------
    cluster : Cluster
    groups : array of int, shape (groups, members)
        Ranks of each ring; message (g, m) is the one that member m receives from the member before it.
    """

    def __init__(self, cluster: Cluster, groups: Ints) -> None:
        self.shape = groups.shape
        self._ends, links = cluster.routes(np.roll(groups, 1, axis=1).reshape(-1), groups.reshape(-1))
        message = np.repeat(np.arange(groups.size), np.diff(self._ends, prepend=0))
        self.users: Ints = np.bincount(links, minlength=len(cluster.bandwidth))
        total = np.bincount(message, weights=cluster.latency[links], minlength=groups.size)
        self.latency: Floats = total.astype(np.float64)
        self.alone = self._slowest(cluster.bandwidth[links])
        self.shared = self._slowest(cluster.bandwidth[links] / self.users[links])
        several = self.users[links] > 1
        self._message, self._link = message[several], links[several]
        rates = self.shared[self._message]
        self._steady = not _unlike(rates, self._link).size  # else what one message leaves, another would take

    def _slowest(self, rates: Floats) -> Floats:
        starts = np.append(0, self._ends[:-1])
        return np.minimum.reduceat(rates, starts) if len(rates) else np.full(len(starts), np.inf)

    def seconds(self, nbytes: float, *, shared: bool = True) -> Floats | None:
        """Return the seconds of each message, shape (groups, members), or None if their rates would change under way.

        Without `shared` every message has the links of its way for itself. Messages that share a link begin and end
        together in every step if they have one place in rings whose messages take equally long, or if each is the
        slowest of its ring, which sends without a pause: step s ends after (s + 1) times its seconds.
        """
        if not shared:
            return (self.latency + nbytes / self.alone).reshape(self.shape)
        if not self._steady:
            return None
        seconds = (self.latency + nbytes / self.shared).reshape(self.shape)
        if not self._link.size:
            return seconds
        group, place = np.divmod(self._message, self.shape[1])
        of_message = seconds.reshape(-1)[self._message]
        kind = _kinds(seconds)[group] * self.shape[1] + place
        pauses = self._link[of_message < seconds.max(axis=1)[group]]
        apart = np.intersect1d(_unlike(kind, self._link), np.append(pauses, _unlike(of_message, self._link)))
        return None if apart.size else seconds


def _unlike(value: NDArray[np.generic], group: Ints) -> Ints:
    """Return the groups, some of them often, that have several values."""
    of_group = np.empty(int(group.max(initial=0)) + 1, value.dtype)
    of_group[group] = value
    unlike: Ints = group[of_group[group] != value]
    return unlike


def _kinds(rows: Floats) -> Ints:
    """Return a number for each row, the same for equal ones."""
    found: dict[bytes, int] = {}
    return np.array([found.setdefault(row.tobytes(), len(found)) for row in rows], dtype=np.int64)


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
    finish = rings(Messages(case.cluster, ranks[None, :]), case.collective, case.nbytes)
    return None if finish is None else case.starts[0] + finish[0]


def rings(messages: Messages, collective: str, nbytes: int, *, shared: bool = True) -> Floats | None:
    """Return when each member of each group ends a ring, shape (groups, members); None where that is not so simple."""
    size = messages.shape[1]
    if size < 2 or nbytes % size or collective not in _STEPS:
        return None
    if not get_algorithm(collective, "ring").function.__module__.startswith("pyccl.algorithms."):
        return None
    seconds = messages.seconds(nbytes / size, shared=shared)
    if seconds is None:
        return None
    kinds, first = _kinds(seconds), dict[int, Floats]()
    for kind, row in zip(kinds.tolist(), seconds, strict=True):
        if kind not in first:
            if len(np.unique(row)) > _MOST_KINDS:
                return None
            taken = around(row, _STEPS[collective] * (size - 1))
            first[kind] = np.maximum(taken, np.roll(taken, -1))  # its own last message must be taken, too
    return np.stack([first[kind] for kind in kinds.tolist()])


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
    chunk = case.nbytes / cluster.size
    seconds = Messages(cluster, ranks.T).seconds(chunk, shared=shared)
    if seconds is None or (seconds != seconds[0]).any() or len(np.unique(seconds)) > _MOST_KINDS:
        return None
    between = seconds[0]
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
