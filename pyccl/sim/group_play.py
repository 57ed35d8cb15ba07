"""A collective that several groups of a cluster's ranks run at once, each within itself."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pyccl import _core
from pyccl.algorithms import build, get_algorithm
from pyccl.collectives import collective as row_of
from pyccl.errors import ConfigError
from pyccl.schedule import record_first
from pyccl.sim.cluster import Cluster

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Tables = list[NDArray[np.int32]]

ROOT = 0
MOST_EVENTS = 1 << 28  # a minute or so
MOST_PAIRS = 1 << 25  # 2 GB with their routes


class GroupPlay:
    """The schedules of all groups as one, lowered once, and the ways of its messages; run for any number of bytes.

    Parameters
    ----------
    cluster : Cluster
    collective, algorithm : str
    groups : array of int, shape (groups, members)
        Ranks; no rank stands in two groups. The root of a rooted collective is a group's first.

    Raises
    ------
    ConfigError
        If the algorithm does not serve groups of that size.
    """

    def __init__(self, cluster: Cluster, collective: str, algorithm: str, groups: Ints) -> None:
        self.cluster, self.collective, self.algorithm, self.groups = cluster, collective, algorithm, groups
        self.members = groups.shape[1]
        entry = get_algorithm(collective, algorithm)
        if not entry.serves(self.members):
            raise ConfigError(f"{collective} {algorithm} does not serve {self.members} ranks; choose another algorithm")
        self._symmetric, self._rotates = entry.symmetric, entry.symmetric and len(groups) == 1

    @cached_property
    def _tables(self) -> tuple[Tables, int]:
        if self._symmetric:
            function = get_algorithm(self.collective, self.algorithm).function
            table, nchunks = record_first(function, self.collective, self.members)
            if self._rotates:
                return [table], nchunks
            if (turned := _turned(table, nchunks, self.groups.shape)) is not None:
                return turned, nchunks
        tables: Tables = []
        for index, group in enumerate(self.groups):
            nodes = self.cluster.host_of[group].tolist()
            schedule = build(self.collective, self.algorithm, self.members, ROOT, nodes)
            tables += [_shifted(table, index * self.members) for table in schedule.tables]
        return tables, schedule.nchunks

    @cached_property
    def _play(self) -> _core.SimPlay:
        tables, nchunks = self._tables
        play = _core.SimPlay(tables, self.groups.size, nchunks, self._rotates)
        pairs = len(play.sources) * (self.members if self._rotates else 1)
        if pairs > MOST_PAIRS:
            raise ConfigError(
                f"{self.collective} {self.algorithm} on {self.groups.size} ranks has {pairs} pairs that exchange "
                f"messages, more than {MOST_PAIRS}; choose another algorithm, such as ring"
            )
        return play

    @cached_property
    def _pairs(self) -> tuple[Ints, Ints]:
        """Source and destination of every pair that exchanges messages, as places in `groups`."""
        source, destination = self._play.sources.astype(np.int64), self._play.destinations.astype(np.int64)
        if not self._rotates:
            return source, destination
        ranks = np.arange(self.members, dtype=np.int64)
        return np.repeat(ranks, len(source)), ((ranks[:, None] + destination) % self.members).reshape(-1)

    @cached_property
    def _routes(self) -> tuple[Ints, Ints]:
        devices, (source, destination) = self.groups.reshape(-1), self._pairs
        return self.cluster.routes(devices[source], devices[destination])

    def chunk_bytes(self, nbytes: int) -> Floats:
        """Return the bytes of each chunk of a group's collective; one entry if they are equal."""
        nchunks = self._tables[1]
        parts = {"all_to_all": self.members, "barrier": 1}.get(self.collective) or nchunks
        if nbytes % parts == 0:
            return np.array([nbytes / parts])
        return np.array(row_of(self.collective).chunk_counts(nbytes, self.members, nchunks), dtype=float)

    def seconds(self, nbytes: int, *, shared: bool = True) -> float:
        """Return when the last rank ends.

        Parameters
        ----------
        nbytes : int
            Bytes of a group's large side.
        shared : bool
            False: every pair has a way of its own, of the same latency and of its narrowest link's rate.
        """
        ends, links = self._routes
        latency, rate = self.cluster.latency, self.cluster.bandwidth
        if not shared:
            starts = np.append(0, ends[:-1])
            latency, rate = np.add.reduceat(latency[links], starts), np.minimum.reduceat(rate[links], starts)
            ends, links = np.arange(1, len(starts) + 1), np.arange(len(starts))
        try:
            finish, _, _, _ = self._play.run(
                latency, ends, links, rate, chunk_bytes=self.chunk_bytes(nbytes), starts=np.zeros(1), gamma=0.0,
                folded=False, most_events=MOST_EVENTS,
            )  # fmt: skip
        except ValueError as error:
            what = f"{self.collective} {self.algorithm} on {self.groups.size} ranks"
            raise ConfigError(f"{what}: {error}; ring and hierarchical need no events on regular clusters") from None
        return float(finish.max())

    def link_bytes(self, nbytes: int, groups: Ints | None = None) -> Floats:
        """Return the bytes that cross each link of the cluster, shape (links,).

        Parameters
        ----------
        nbytes : int
            Bytes of a group's large side.
        groups : array of int, shape (n, members), optional
            What all do of whom the first are simulated; default: only these.
        """
        devices = (self.groups if groups is None else groups).reshape(-1, self.groups.size)
        source, destination = (devices[:, place].reshape(-1) for place in self._pairs)
        ends, links = self.cluster.routes(source, destination)
        moved = np.tile(self._play.traffic(self.chunk_bytes(nbytes)), len(devices))
        each = np.repeat(moved, np.diff(ends, prepend=0))
        return np.bincount(links, weights=each, minlength=len(self.cluster.bandwidth)).astype(np.float64)


def _turned(table: NDArray[np.int32], nchunks: int, shape: tuple[int, ...]) -> Tables | None:
    """Return the tables of all members of all groups, given rank 0's of a symmetric algorithm; None if not so simple.

    Rank r does what rank 0 does with ranks and chunks shifted by r.
    """
    groups, members = shape
    if nchunks not in (1, members) or len(table) % 5 or (table[3::5] != 1).any() or (table[2::5] != -1).any():
        return None  # a step has several peers, whose order is that of their ranks, or none
    turns = np.arange(members, dtype=np.int32)[:, None]
    first = np.tile(table, (members, 1))
    first[:, 1::5] = (first[:, 1::5] + turns) % nchunks
    first[:, 4::5] = (first[:, 4::5] + turns) % members
    tables: Tables = []
    for offset in range(0, groups * members, members):
        shifted = first.copy()
        shifted[:, 4::5] += offset
        tables += list(shifted)
    return tables


def _shifted(table: NDArray[np.int32], offset: int) -> NDArray[np.int32]:
    """Return a rank's table with its peers `offset` further."""
    if offset == 0:
        return table
    moved: NDArray[np.int32] = table.copy()
    at, words = 0, table.tolist()
    while at < len(words):
        end = at + 4 + words[at + 3]
        moved[at + 4 : end] += offset
        at = end
    return moved
