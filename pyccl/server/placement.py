"""Where tables lie: which rank serves, and which elements each shard has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from pyccl.checks import integer
from pyccl.collectives import chunk_range
from pyccl.errors import ConfigError

__all__ = ["Placement", "check_room", "server_ranks", "spread"]

# A table with less for each server lies on one server as a whole: a request costs more than its bytes then.
_LEAST = 4096  # elements
_RING = 512 << 10  # bytes of a queue of requests, which every server has from every client for every shard
_ADDRESSES = 1 << 46  # bytes: half of what a process has


def server_ranks(servers: str | int | Iterable[int], size: int) -> tuple[int, ...]:
    """Return the ranks that serve.

    Parameters
    ----------
    servers : "colocated", int or iterable of int
        All ranks; that many of the last ranks; or these.
    size : int
        Ranks of the communicator.

    Raises
    ------
    ConfigError
        If there is none, or one is no rank, or named twice, or no rank is left to work.
    """
    if servers == "colocated":
        return tuple(range(size))
    if isinstance(servers, str):
        raise ConfigError(f"servers must be 'colocated', a number or a list of ranks, got {servers!r}")
    if isinstance(servers, Iterable):
        ranks = tuple(integer(rank, "a rank in servers", 0, size) for rank in servers)
        if len(set(ranks)) < len(ranks):
            raise ConfigError(f"servers names a rank twice: {list(ranks)}")
    else:
        count = integer(servers, "servers", -(2**31), 2**31)
        if not 0 < count < size:
            raise ConfigError(f"{count} dedicated servers of {size} ranks: there must be one, and a worker left")
        ranks = tuple(range(size - count, size))
    if not 0 < len(ranks) < size:
        raise ConfigError(f"servers={list(ranks)} of {size} ranks: there must be at least one, and one left to work")
    return ranks


class Placement:
    """Cuts tables so that all servers hold about as many bytes; the same on every rank."""

    def __init__(self, servers: int) -> None:
        self.loads: npt.NDArray[np.int64] = np.zeros(servers, np.int64)  # elements
        self._homes = [0] * servers

    def cut(self, count: int, *, whole: bool = False) -> list[int]:
        """Return the bounds of a table's shards: shard i has the elements [bounds[i], bounds[i + 1]).

        A small table, or one that must stay whole, lies where there is least so far.
        """
        servers = len(self.loads)
        if whole or count < _LEAST * servers:
            place = int(self.loads.argmin())
            bounds = [0] * (place + 1) + [count] * (servers - place)
        else:
            bounds = [0, *(chunk_range(count, servers, shard)[1] for shard in range(servers))]
        self.loads += np.diff(bounds)
        return bounds

    def home(self) -> int:
        """Return the shard for all rows of a sparse table that must stay whole: how many they will be nobody knows."""
        place = min(range(len(self._homes)), key=lambda shard: (self._homes[shard], self.loads[shard]))
        self._homes[place] += 1
        return place


def spread(servers: Sequence[int], nodes: Sequence[int]) -> tuple[int, ...]:
    """Return the servers in an order in which neighbours, who copy each other's shards, share no node if that can be.

    Examples
    --------
    >>> spread([0, 1, 2, 3], nodes=[0, 0, 1, 1])
    (0, 2, 1, 3)
    """
    waiting = [[rank for rank in servers if nodes[rank] == node] for node in sorted({nodes[rank] for rank in servers})]
    order = []
    while any(waiting):
        order += [ranks.pop(0) for ranks in waiting if ranks]
    return tuple(order)


def check_room(servers: int, workers: int, replicas: int) -> None:
    """Return if the queues of so many ranks have room in a process's addresses; memory they take only when used.

    Raises
    ------
    ConfigError
    """
    room = servers * servers * (workers + (servers if replicas else 0)) * _RING
    if room > _ADDRESSES:
        raise ConfigError(
            f"{servers} servers and {workers} workers need {room / 2**40:.0f} TiB of addresses for their requests, "
            f"there are {_ADDRESSES >> 40}: take fewer servers, such as servers={max(1, workers // 16)}"
        )
