"""What is simulated: a collective on a cluster, its schedule lowered and its routes found, each once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pyccl import _core
from pyccl.algorithms import build, get_algorithm
from pyccl.collectives import collective as row_of
from pyccl.schedule import record_first
from pyccl.sim.cluster import Cluster

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Traffic = tuple[Ints, Ints, Floats]
"""Source, destination and bytes of pairs of ranks."""


def tables(
    collective: str, algorithm: str, size: int, root: int, nodes: Sequence[int]
) -> tuple[Sequence[NDArray[np.int32]], int]:
    """Return the tables of all ranks' steps, one table for all if they are symmetric, and the number of chunks."""
    entry = get_algorithm(collective, algorithm)
    if entry.symmetric:
        table, nchunks = record_first(entry.function, collective, size)
        return [table], nchunks
    schedule = build(collective, algorithm, size, root, nodes)
    return schedule.tables, schedule.nchunks


def even_split(collective: str, nbytes: int, size: int, nchunks: int) -> Floats:
    """Return the bytes of every chunk; one entry if they are equal."""
    parts = {"all_to_all": size, "barrier": 1}.get(collective) or nchunks
    if nbytes % parts == 0:
        return np.array([nbytes / parts])
    return np.array(row_of(collective).chunk_counts(nbytes, size, nchunks), dtype=float)


@dataclass(frozen=True)
class Case:
    """One collective on a cluster; what takes time to find is found when it is asked for."""

    cluster: Cluster
    collective: str
    algorithm: str
    nbytes: int
    root: int
    starts: Floats  # one entry: all ranks start at once
    gamma: float
    sizes: tuple[int, ...] | None  # bytes of each chunk; None: an even split

    @property
    def symmetric(self) -> bool:
        """Whether the steps of rank 0 are those of all."""
        return get_algorithm(self.collective, self.algorithm).symmetric

    @cached_property
    def _tables(self) -> tuple[Sequence[NDArray[np.int32]], int]:
        nodes = self.cluster.host_of.tolist()
        return tables(self.collective, self.algorithm, self.cluster.size, self.root, nodes)

    @property
    def nchunks(self) -> int:
        """Number of chunks."""
        return self._tables[1]

    @cached_property
    def play(self) -> _core.SimPlay:
        """The lowered schedule."""
        tables, nchunks = self._tables
        return _core.SimPlay(tables, self.cluster.size, nchunks, self.symmetric)

    @cached_property
    def chunk_bytes(self) -> Floats:
        """Bytes of every chunk; one entry if they are equal."""
        if self.sizes is not None:
            equal = len(set(self.sizes)) <= 1
            return np.array(self.sizes[:1] if equal else self.sizes, dtype=float)
        return even_split(self.collective, self.nbytes, self.cluster.size, self.nchunks)

    @property
    def equal(self) -> bool:
        """Whether nothing tells the ranks apart: not their steps, chunks, starts or links."""
        alike = self.cluster.uniform is not None and len(self.starts) == 1 and self.symmetric
        return alike and len(self.chunk_bytes) == 1

    def pairs(self) -> tuple[Ints, Ints]:
        """Return source and destination of every pair of ranks that exchange messages."""
        size, source, destination = self.cluster.size, self.play.sources, self.play.destinations
        if not self.symmetric:
            return source.astype(np.int64), destination.astype(np.int64)
        ranks = np.arange(size, dtype=np.int64)
        return np.repeat(ranks, len(source)), ((ranks[:, None] + destination) % size).reshape(-1)

    def traffic(self) -> Traffic:
        """Return source, destination and bytes of every pair, by counting."""
        return *self.pairs(), self.play.traffic(self.chunk_bytes)

    def run(self, *, folded: bool, most_events: int) -> tuple[Floats, Floats, int]:
        """Return the ranks' ends, the bytes of each pair, and the number of messages."""
        nothing: Ints = np.empty(0, dtype=np.int64)
        if self.cluster.uniform is not None:
            latency, rate = self.cluster.uniform
            ways = np.array([latency]), nothing, nothing, np.array([rate])
        else:
            ends, links = self.cluster.routes(*self.pairs())
            ways = self.cluster.latency, ends, links, self.cluster.bandwidth
        finish, moved, messages, _ = self.play.run(
            *ways, chunk_bytes=self.chunk_bytes, starts=self.starts, gamma=self.gamma, folded=folded,
            most_events=most_events,
        )  # fmt: skip
        return finish, moved, messages
