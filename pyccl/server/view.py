"""Who lives, and who has which shard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pyccl import _core

__all__ = ["View", "view_of"]


class View(NamedTuple):
    """The membership of a parameter server at one moment. Two ranks that see the same term see the same members.

    Attributes
    ----------
    term : int
        1, and one more for each rank that has died or has closed its parameter server.
    leader : int
        The lowest rank that lives; -1 when all have closed.
    living : tuple of int
        Ranks.
    owners : tuple of int
        By shard: the rank that serves it; -1 if it is lost.
    replicas : tuple of tuple of int
        By shard: the ranks that hold whole copies of it, in the order in which they would take over.
    """

    term: int
    leader: int
    living: tuple[int, ...]
    owners: tuple[int, ...]
    replicas: tuple[tuple[int, ...], ...]


def view_of(endpoint: _core.ServerEndpoint, size: int, servers: Sequence[int]) -> View:
    """Return the view. Ranks leave and never come back, so what two readings agree on was so in between."""
    living = _living(endpoint, size)
    while (again := _living(endpoint, size)) != living:
        living = again
    owners, replicas = [], []
    for shard in range(len(servers)):
        circle = [(shard + step) % len(servers) for step in range(len(servers))]
        holders = [servers[i] for i in circle if servers[i] in living and endpoint.holds(shard, i)]
        owner = endpoint.owner(shard)
        owners.append(servers[owner] if owner >= 0 else -1)
        replicas.append(tuple(rank for rank in holders if rank != owners[-1]) if owner >= 0 else ())
    return View(size - len(living) + 1, min(living, default=-1), living, tuple(owners), tuple(replicas))


def _living(endpoint: _core.ServerEndpoint, size: int) -> tuple[int, ...]:
    return tuple(rank for rank in range(size) if endpoint.lives(rank))
