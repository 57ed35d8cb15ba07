"""Who leads, who lives, and who has which shard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pyccl import _core

__all__ = ["View", "view_of"]


class View(NamedTuple):
    """The membership of a parameter server, as its leader has published it. One term means one view on a node.

    Attributes
    ----------
    term : int
        1, and one more with every change: ranks that have died, or have closed their parameter server. Over several
        nodes, one more than the ranks that are gone and the shards that are lost.
    leader : int
        The rank that has published it, over several nodes one of those: the lowest one that lives and serves.
    living : tuple of int
        Ranks.
    owners : tuple of int
        By shard: the rank that serves it; -1 if it is lost.
    replicas : tuple of tuple of int
        By shard: the ranks that hold whole copies of it now, in the order in which they would take over.
    """

    term: int
    leader: int
    living: tuple[int, ...]
    owners: tuple[int, ...]
    replicas: tuple[tuple[int, ...], ...]


def view_of(endpoint: _core.ServerEndpoint, servers: Sequence[int]) -> View:
    """Return the view by which all servers and workers go."""
    term, leader, living, lines = endpoint.view()
    return View(
        term,
        leader,
        tuple(living),
        tuple(servers[line[0]] if line else -1 for line in lines),
        tuple(tuple(servers[i] for i in line[1:] if endpoint.holds(shard, i)) for shard, line in enumerate(lines)),
    )
