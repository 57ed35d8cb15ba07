"""How readers write a rank's columns: one node at a time, in arrays of plain numbers."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np

from pyccl.sim.trace import ANY, Array, Columns, Kind, Names

__all__ = ["MAX_NBYTES", "MAX_NODES", "Recorder", "compact", "csr"]

MAX_NODES = 1 << 28
MAX_NBYTES = 1 << 62
FIELDS = (
    ("kind", "B", np.uint8), ("nbytes", "q", np.int64), ("peer", "i", np.int32), ("tag", "i", np.int32),
    ("duration", "d", np.float64), ("collective", "b", np.int8), ("group", "i", np.int32), ("lane", "i", np.int32),
)  # fmt: skip


class Recorder:
    """Collects the nodes of one rank.

    A node is a row of values; `row` makes one and `append` adds a node that has it, so that equal nodes share
    their row. `add` does both.
    """

    def __init__(self) -> None:
        self.rows: tuple[array[Any], ...] = tuple(array(code) for _, code, _ in FIELDS)
        self.nodes = array("I")
        self.waiting = array("i")
        self.awaited = array("i")
        self.begun = array("b")
        self.ids = array("Q")
        self.name_ends = array("Q")
        self.name_blob = bytearray()
        self.append = self.nodes.append

    def row(
        self, kind: Kind, nbytes: int = 0, peer: int = ANY, tag: int = 0, duration: float = 0.0, collective: int = -1,
        group: int = -1, lane: int = 0,
    ) -> int:  # fmt: skip
        """Return the number of a new row."""
        for column, value in zip(self.rows, (kind, nbytes, peer, tag, duration, collective, group, lane), strict=True):
            column.append(value)
        return len(self.rows[0]) - 1

    def add(
        self, kind: Kind, nbytes: int = 0, peer: int = ANY, tag: int = 0, duration: float = 0.0, collective: int = -1,
        group: int = -1, lane: int = 0,
    ) -> int:  # fmt: skip
        """Append a node and return its index."""
        self.append(self.row(kind, nbytes, peer, tag, duration, collective, group, lane))
        return len(self.nodes) - 1

    def name(self, identifier: int, name: bytes) -> None:
        """Give the last node its identifier and name; then every node needs them."""
        self.ids.append(identifier)
        self.name_blob += name
        self.name_ends.append(len(self.name_blob))

    def after(self, node: int, other: int, begun: bool = False) -> None:
        """Let `node` wait for `other`, or for its begin."""
        self.waiting.append(node)
        self.awaited.append(other)
        self.begun.append(begun)

    def finish(self) -> Columns:
        """Return the columns."""
        n = len(self.nodes)
        places = np.frombuffer(self.nodes, np.uint32) if n else np.empty(0, np.uint32)
        whole = len(self.rows[0]) == n and np.array_equal(places, np.arange(n))
        columns = {}
        for (name, _, dtype), rows in zip(FIELDS, self.rows, strict=True):
            values = np.array(rows, dtype)
            columns[name] = compact(values if whole else values[places])
        links = csr(
            n, np.array(self.waiting, np.int32), np.array(self.awaited, np.int32), np.array(self.begun, np.bool_)
        )
        ids = np.array(self.ids, np.uint64)
        names = Names(bytes(self.name_blob), np.array(self.name_ends, np.uint64)) if self.name_blob else None
        same = np.array_equal(ids, np.arange(n, dtype=np.uint64))
        return Columns(
            **columns, **links, ids=None if same or not len(ids) else ids, names=names
        )  # fmt: skip


def csr(n: int, waiting: Array, awaited: Array, begun: Array) -> dict[str, Array]:
    """Return the columns of dependencies, from one entry per dependency in any order."""
    if np.any(waiting[1:] < waiting[:-1]):
        order = np.argsort(waiting, kind="stable")
        awaited, begun = awaited[order], begun[order]
    starts = np.zeros(n + 1, np.int64)
    np.cumsum(np.bincount(waiting, minlength=n), out=starts[1:])
    return {"starts": starts, "deps": compact(awaited), "begun": compact(begun)}


def compact(values: Array) -> Array:
    """Return the same values, read-only, without memory if they are all equal."""
    if len(values) and (values == values[0]).all():
        return np.broadcast_to(values[0], values.shape)
    values.flags.writeable = False
    return values
