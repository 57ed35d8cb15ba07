"""A schedule: per rank one flat table of steps on chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyccl.collectives import Collective, collective
from pyccl.errors import ConfigError


class VerificationError(ConfigError):
    """A schedule does not do what its collective promises, or cannot run to its end."""


class Kind(IntEnum):
    """What a step does; the values stand in the tables and in ``csrc/engine``."""

    SEND = 0
    RECV = 1
    RECV_REDUCE = 2
    COPY = 3
    REDUCE = 4


_KINDS = frozenset(int(kind) for kind in Kind)


class Step(NamedTuple):
    """One step of one rank; `source_chunk` is -1 and `peers` is empty where the kind has none."""

    kind: int
    chunk: int
    source_chunk: int
    peers: tuple[int, ...]

    def __str__(self) -> str:
        name = Kind(self.kind).name.lower()
        if self.kind in (Kind.COPY, Kind.REDUCE):
            return f"{name} chunk {self.chunk} from chunk {self.source_chunk}"
        side = "to" if self.kind == Kind.SEND else "from"
        return f"{name} chunk {self.chunk} {side} {', '.join(map(str, self.peers))}"


def encode(steps: Sequence[Step]) -> NDArray[np.int32]:
    """Return the flat table of `steps`, shape (n,): ``kind, chunk, source_chunk, npeers, peer...`` per step."""
    flat: list[int] = []
    for kind, chunk, source_chunk, peers in steps:
        flat += (kind, chunk, source_chunk, len(peers), *peers)
    return np.array(flat, dtype=np.int32)


def decode(table: NDArray[np.int32]) -> tuple[Step, ...]:
    """Return the steps of a flat table, shape (n,).

    Raises
    ------
    VerificationError
        If the table does not end where its last step ends, or a step is of no known kind.
    """
    flat: list[int] = table.tolist()
    steps, at = [], 0
    while at < len(flat):
        end = at + 4 + flat[at + 3] if at + 4 <= len(flat) else -1
        if not at + 4 <= end <= len(flat) or flat[at] not in _KINDS:
            raise VerificationError(f"malformed table: no step can be read at word {at} of {len(flat)}")
        steps.append(Step(flat[at], flat[at + 1], flat[at + 2], tuple(flat[at + 4 : end])))
        at = end
    return tuple(steps)


@dataclass(frozen=True, eq=False)
class Schedule:
    """What every rank does in one collective; it knows nothing of bytes, types, transports or time.

    Messages from one rank to another are matched first in, first out, in program order.

    Attributes
    ----------
    collective, algorithm : str
    size, root, nchunks : int
    nodes : tuple of int
        Node of each rank.
    order : str
        "rank" if every result is one n-ary pass over the contributions in rank order, else "schedule".
    commutative_only : bool
        Whether the operation must be commutative (otherwise being associative is enough).
    tables : tuple of int32 arrays, one per rank, shape (n,), read-only
        Flat steps ``kind, chunk, source_chunk or -1, npeers, peer...``, peers ascending; kinds are those of `Kind`.
    """

    collective: str
    algorithm: str
    size: int
    root: int
    nodes: tuple[int, ...]
    nchunks: int
    order: str
    commutative_only: bool
    tables: tuple[NDArray[np.int32], ...]

    @cached_property
    def row(self) -> Collective:
        """The collective's row in `pyccl.collectives`."""
        return collective(self.collective)

    @cached_property
    def steps(self) -> tuple[tuple[Step, ...], ...]:
        """The decoded steps of every rank."""
        return tuple(decode(table) for table in self.tables)

    def initial(self, rank: int) -> Sequence[int]:
        """Return the chunks that `rank` holds at the start."""
        return self.row.initial(rank, self.size, self.root, self.nchunks)

    def final(self, rank: int) -> Sequence[int]:
        """Return the chunks that `rank` must hold at the end."""
        return self.row.final(rank, self.size, self.root, self.nchunks)

    def __repr__(self) -> str:
        steps = sum(map(len, self.steps))
        return f"<Schedule {self.collective}/{self.algorithm}, {self.size} ranks, {self.nchunks} chunks, {steps} steps>"

    def dependencies(self, rank: int) -> tuple[tuple[int, ...], ...]:
        """Return, for each step of `rank`, the earlier steps that it must wait for.

        They follow from the hazards on chunks: read after write, write after read, write after write.
        """
        from pyccl.schedule.views import dependencies

        return dependencies(self.steps[rank])

    def text(self) -> str:
        """Return a readable listing, rank by rank."""
        from pyccl.schedule.views import text

        return text(self)

    def chrome_trace(
        self, *, alpha: float = 1e-6, beta: float = 1e-10, gamma: float = 0.0, nbytes: int = 1 << 20
    ) -> list[dict[str, Any]]:
        """Return the schedule in virtual time as events for ``chrome://tracing`` or Perfetto.

        Parameters
        ----------
        alpha : float
            Seconds per message.
        beta, gamma : float
            Seconds per byte sent, and per byte combined.
        nbytes : int
            Bytes of the collective's large side.

        Returns
        -------
        list of dict
            JSON-able "complete" events, one process per rank, times in microseconds.
        """
        from pyccl.schedule.views import chrome_trace

        return chrome_trace(self, alpha=alpha, beta=beta, gamma=gamma, nbytes=nbytes)
