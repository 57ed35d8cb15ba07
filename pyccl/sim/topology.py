"""Fabrics: what connects the hosts of a cluster, and which links a message crosses on its way.

A fabric numbers its own links from 0. `hops` takes arrays of sources and destinations, so that the routes of a
million pairs are a few NumPy operations.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Fabric(Protocol):
    """What lies between the network interfaces (or, where `joins_hosts`, between the hosts themselves)."""

    joins_hosts: bool

    @property
    def bandwidth(self) -> Floats:
        """Bytes/s of each link."""

    @property
    def latency(self) -> Floats:
        """Seconds of each link."""

    def hops(self, source: Ints, destination: Ints) -> Ints:
        """Return the links of each route, shape (n, h); -1 is no link."""

    def name(self, link: int) -> str:
        """Return what a report calls a link."""


@dataclass(frozen=True)
class Switch:
    """One switch that is never the bottleneck; with one for each rail, rails."""

    joins_hosts = False
    bandwidth = np.empty(0)
    latency = np.empty(0)

    def hops(self, source: Ints, destination: Ints) -> Ints:
        return np.empty((len(source), 0), dtype=np.int64)

    def name(self, link: int) -> str:
        raise IndexError(link)


@dataclass(frozen=True)
class Torus:
    """Hosts on a grid with wrap-around, each linked to both neighbours in every dimension; a ring has one.

    Routes go dimension by dimension, the shorter way round; upwards where both are as long.
    """

    dims: tuple[int, ...]
    rate: float
    delay: float
    half: bool
    joins_hosts = True

    @property
    def hosts(self) -> int:
        return int(np.prod(self.dims))

    @property
    def bandwidth(self) -> Floats:
        return np.full(self.hosts * len(self.dims) * (1 if self.half else 2), self.rate)

    @property
    def latency(self) -> Floats:
        return np.full_like(self.bandwidth, self.delay)

    def _link(self, host: Ints, dim: int, up: NDArray[np.bool_], below: Ints) -> Ints:
        """Return the link from `host` upwards, or downwards to `below`: both ways are one in half duplex."""
        n = len(self.dims)
        if self.half:
            return np.where(up, host, below) * n + dim
        return (host * n + dim) * 2 + ~up

    def hops(self, source: Ints, destination: Ints) -> Ints:
        at, columns, stride = source.copy(), [], 1
        for dim, length in enumerate(self.dims):
            place, goal = at // stride % length, destination // stride % length
            distance = (goal - place) % length
            up = 2 * distance <= length
            left = np.where(up, distance, length - distance)
            while left.any():
                place = at // stride % length
                following = at + ((place + np.where(up, 1, -1)) % length - place) * stride
                columns.append(np.where(left > 0, self._link(at, dim, up, following), -1))
                at = np.where(left > 0, following, at)
                left = np.maximum(left - 1, 0)
            stride *= length
        return np.stack(columns, axis=1) if columns else np.empty((len(source), 0), dtype=np.int64)

    def name(self, link: int) -> str:
        n = len(self.dims)
        host, dim = divmod(link // (1 if self.half else 2), n)
        way = "both ways" if self.half else ("down" if link % 2 else "up")
        return f"host {host} dimension {dim} {way}"


@dataclass(frozen=True)
class FatTree:
    """Leaf switches below spine switches; a route takes the spine that its destination's number names (d mod k)."""

    leaf_of: Ints
    uplink: Floats
    """Bytes/s from each leaf to each spine."""
    spines: int
    delay: float
    half: bool
    joins_hosts = False

    @property
    def bandwidth(self) -> Floats:
        each = np.repeat(self.uplink, self.spines)
        return each if self.half else np.concatenate([each, each])

    @property
    def latency(self) -> Floats:
        return np.full(len(self.uplink) * self.spines * (1 if self.half else 2), self.delay)

    def hops(self, source: Ints, destination: Ints) -> Ints:
        above, below = self.leaf_of[source], self.leaf_of[destination]
        spine, away = destination % self.spines, above != below
        down = 0 if self.half else len(self.uplink) * self.spines
        up_link = np.where(away, above * self.spines + spine, -1)
        return np.stack([up_link, np.where(away, below * self.spines + spine + down, -1)], axis=1)

    def name(self, link: int) -> str:
        down, at = divmod(link, len(self.uplink) * self.spines)
        leaf, spine = divmod(at, self.spines)
        return f"spine {spine} to leaf {leaf}" if down else f"leaf {leaf} to spine {spine}"


@dataclass(frozen=True)
class Dragonfly:
    """Groups of routers: all routers of a group are linked, and each two groups by one link. Routes are minimal."""

    groups: int
    routers: int
    router_of: Ints
    """Router (group * routers + place) of each interface."""
    local: float
    between: float
    delay: float
    joins_hosts = False

    @property
    def _locals(self) -> int:
        return self.groups * self.routers * self.routers

    @property
    def bandwidth(self) -> Floats:
        return np.concatenate([np.full(self._locals, self.local), np.full(self.groups * self.groups, self.between)])

    @property
    def latency(self) -> Floats:
        return np.full(self._locals + self.groups * self.groups, self.delay)

    def _gateway(self, group: Ints, other: Ints) -> Ints:
        return (other - group - 1) % self.groups % self.routers

    def _within(self, group: Ints, a: Ints, b: Ints, there: NDArray[np.bool_]) -> Ints:
        return np.where(there & (a != b), (group * self.routers + a) * self.routers + b, -1)

    def hops(self, source: Ints, destination: Ints) -> Ints:
        (g, a), (h, b) = (np.divmod(self.router_of[end], self.routers) for end in (source, destination))
        away = g != h
        leaves, arrives = self._gateway(g, h), self._gateway(h, g)
        first = self._within(g, a, np.where(away, leaves, b), np.ones_like(away))
        middle = np.where(away, self._locals + g * self.groups + h, -1)
        return np.stack([first, middle, self._within(h, arrives, b, away)], axis=1)

    def name(self, link: int) -> str:
        if link >= self._locals:
            g, h = divmod(link - self._locals, self.groups)
            return f"group {g} to group {h}"
        router, b = divmod(link, self.routers)
        return f"group {router // self.routers} router {router % self.routers} to router {b}"


@dataclass(frozen=True)
class Wan:
    """Sites with a link each to and from the wide area, which is never the bottleneck itself."""

    names: tuple[str, ...]
    site_of: Ints
    rates: Floats
    delays: Floats
    half: bool
    joins_hosts = False

    @property
    def bandwidth(self) -> Floats:
        return self.rates if self.half else np.concatenate([self.rates, self.rates])

    @property
    def latency(self) -> Floats:
        return self.delays if self.half else np.concatenate([self.delays, self.delays])

    def hops(self, source: Ints, destination: Ints) -> Ints:
        a, b = self.site_of[source], self.site_of[destination]
        down = 0 if self.half else len(self.names)
        return np.stack([np.where(a != b, a, -1), np.where(a != b, b + down, -1)], axis=1)

    def name(self, link: int) -> str:
        down, site = divmod(link, len(self.names))
        return f"wide area to {self.names[site]}" if down else f"{self.names[site]} to wide area"


@dataclass(frozen=True)
class Graph:
    """Any graph of hosts and switches; routes have the least latency, then the fewest links, then the lowest ones."""

    hosts: tuple[str, ...]
    ends: tuple[tuple[str, str], ...]
    rates: Sequence[float]
    delays: Sequence[float]
    half: bool
    joins_hosts = True

    @property
    def bandwidth(self) -> Floats:
        return np.repeat(np.asarray(self.rates, dtype=float), 1 if self.half else 2)

    @property
    def latency(self) -> Floats:
        return np.repeat(np.asarray(self.delays, dtype=float), 1 if self.half else 2)

    @cached_property
    def _neighbours(self) -> dict[str, list[tuple[str, int, float]]]:
        found: dict[str, list[tuple[str, int, float]]] = {host: [] for host in self.hosts}
        for i, ((a, b), delay) in enumerate(zip(self.ends, self.delays, strict=True)):
            there, back = (i, i) if self.half else (2 * i, 2 * i + 1)
            found.setdefault(a, []).append((b, there, delay))
            found.setdefault(b, []).append((a, back, delay))
        return found

    @cached_property
    def _trees(self) -> dict[int, dict[str, tuple[str, int]]]:
        return {}

    def _tree(self, source: int) -> dict[str, tuple[str, int]]:
        """Return, for each vertex, the one before it on the way from `source`, and the link between them."""
        if source not in self._trees:
            before: dict[str, tuple[str, int]] = {}
            queue: list[tuple[float, int, int, str, str]] = [(0.0, 0, -1, self.hosts[source], "")]
            while queue:
                delay, hops, link, vertex, previous = heapq.heappop(queue)
                if vertex in before:
                    continue
                before[vertex] = (previous, link)
                for other, out, more in self._neighbours[vertex]:
                    if other not in before:
                        heapq.heappush(queue, (delay + more, hops + 1, out, other, vertex))
            self._trees[source] = before
        return self._trees[source]

    def gap(self) -> str:
        """Return what is wrong if two hosts have no way between them, else nothing."""
        reached = self._tree(0)
        for host in self.hosts:
            if host not in reached:
                return f"there is no way from host {self.hosts[0]} to host {host}; add a link between them"
        return ""

    def hops(self, source: Ints, destination: Ints) -> Ints:
        routes = []
        for a, b in zip(source.tolist(), destination.tolist(), strict=True):
            tree, route = self._tree(a), []
            vertex, link = tree[self.hosts[b]]
            while link >= 0:
                route.append(link)
                vertex, link = tree[vertex]
            routes.append(route[::-1])
        longest = max(map(len, routes), default=0)
        padded = [route + [-1] * (longest - len(route)) for route in routes]
        return np.array(padded, dtype=np.int64).reshape(len(routes), longest)

    def name(self, link: int) -> str:
        a, b = self.ends[link // (1 if self.half else 2)]
        if self.half:
            return f"{a} and {b}"
        return f"{b} to {a}" if link % 2 else f"{a} to {b}"
