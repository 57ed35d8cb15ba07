"""Rings whose messages do not all take equally long, and the hierarchical all_reduce: without events, where exact.

What makes it exact: the messages of one step share links only with messages that begin and end with them, so that
their rates never change. Then every message of an edge takes the same time in every step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pyccl.algorithms import get_algorithm
from pyccl.sim.case import Case, Floats, Ints, Traffic
from pyccl.sim.cluster import Cluster

_STEPS = {"all_reduce": 2, "reduce_scatter": 1, "all_gather": 1}
_MOST_KINDS = 64  # of messages that differ in how long they take


def message_seconds(
    cluster: Cluster, source: Ints, destination: Ints, edge: Ints, nbytes: float, *, shared: bool = True
) -> Floats | None:
    """Return the seconds of each message of a step, or None if their rates would change under way.

    `edge` numbers the neighbours: messages of one edge run side by side in every step. Without `shared` every message
    has the links of its way for itself.
    """
    ends, links = cluster.routes(source, destination)
    message = np.repeat(np.arange(len(source)), np.diff(ends, prepend=0))
    each = cluster.bandwidth[links]
    if shared:
        each = each / np.bincount(links, minlength=len(cluster.bandwidth))[links]
    rate = np.full(len(source), np.inf)
    np.minimum.at(rate, message, each)
    if shared and not _alike(rate[message], links):  # then what one message leaves, another would take
        return None
    latency = np.bincount(message, weights=cluster.latency[links], minlength=len(source))
    seconds = latency + nbytes / rate
    together = not shared or _alike(edge[message].astype(float), links)
    return seconds if (together and _alike(seconds, edge)) or np.ptp(seconds) == 0 else None


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
    finish = rings(case.cluster, case.collective, case.nbytes, ranks[None, :])
    return None if finish is None else case.starts[0] + finish


def rings(
    cluster: Cluster, collective: str, nbytes: int, groups: Ints, *, shared: bool = True
) -> Floats | None:  # fmt: skip
    """Return when each member of equal groups ends that all run a ring at once; None where that is not so simple.

    Parameters
    ----------
    groups : array of int, shape (groups, members)
        Ranks.
    shared : bool
        False: as if every message had the links of its way for itself.
    """
    size = groups.shape[1]
    if size < 2 or nbytes % size or collective not in _STEPS:
        return None
    if not get_algorithm(collective, "ring").function.__module__.startswith("pyccl.algorithms."):
        return None
    edge = np.tile(np.arange(size, dtype=np.int64), len(groups))
    source = np.roll(groups, 1, axis=1).reshape(-1)
    seconds = message_seconds(cluster, source, groups.reshape(-1), edge, nbytes / size, shared=shared)
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
    seconds = message_seconds(
        cluster, np.roll(ranks, 1, axis=0).reshape(-1), ranks.reshape(-1), host, chunk, shared=shared
    )
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
    first, last = _within(case, "reduce_scatter"), _within(case, "all_gather")
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


def _within(case: Case, collective: str) -> Floats:
    """Return when the ranks of one host end a phase of the hierarchical all_reduce."""
    node = case.cluster.nodes[0]
    if node.gpus_per_host == 1:
        return np.zeros(1)
    host = Cluster("switch", hosts=1, nic=node.nic, latency=node.latency, gpus_per_host=node.gpus_per_host,
                   intra=node.intra, intra_latency=node.intra_latency)  # fmt: skip
    phase = Case(host, collective, "hierarchical", case.nbytes, 0, np.zeros(1), case.gamma, None)
    return phase.run(folded=False, most_events=0)[0]
