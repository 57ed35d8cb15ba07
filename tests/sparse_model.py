"""A sparse table in plain Python: a dict of rows, and the rules as they are told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pyccl import _core
from pyccl.initializers import Initializer, Normal, table_key

DIM = 3
RATE, EPSILON = 0.5, 1e-6
NAME = "emb"
INIT: Initializer = Normal(0.0, 1.0, seed=4)

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Rules:
    """The keyword arguments of a table."""

    after: int = 1
    probability: float = 1.0
    shared: bool = False
    max_rows: int = 0
    lfu: bool = False
    epochs: int = 0
    counters: int = 1 << 14

    def table(self) -> _core.SparseTable:
        optimizer = _core.Optimizer("adagrad", RATE, epsilon=EPSILON)
        return _core.SparseTable(DIM, table_key(NAME), optimizer, INIT.native(), **vars(self))


@dataclass
class Row:
    weights: Floats
    state: Floats = field(default_factory=lambda: np.zeros(DIM, np.float32))
    version: int = 0
    touch: int = 0

    def update(self, gradient: Floats) -> None:
        self.state = self.state + gradient * gradient
        self.weights = self.weights - np.float32(RATE) * gradient / (np.sqrt(self.state) + np.float32(EPSILON))


@dataclass
class Model:
    """Admission by probability is not modelled: a sketch is exact for few ids, a draw is a draw."""

    rules: Rules
    common: Row  # what ids without a row have, if they have one
    rows: dict[int, Row] = field(default_factory=dict)
    seen: Counter[int] = field(default_factory=Counter)
    time: int = 0
    clocks: list[int] = field(default_factory=list)  # the time at each
    created: int = 0
    evicted: int = 0
    refused: int = 0

    def push(self, ids: list[int], gradients: Floats) -> None:
        self.time += 1
        wanted = [i for i in ids if i not in self.rows and self.admits(i)]
        present = [i for i in ids if i in self.rows]
        for i in present:
            self.rows[i].touch = self.time
        if self.rules.max_rows:
            del wanted[max(self.rules.max_rows - len(present), 0) :]
            self.make_room(len(wanted), set(present))
        for i in wanted:
            self.rows[i] = Row(first(i), touch=self.time)
        self.created += len(wanted)
        for i, gradient in zip(ids, gradients, strict=True):
            self.update(i, gradient)

    def admits(self, i: int) -> bool:
        self.seen[i] += 1
        return self.seen[i] >= self.rules.after

    def make_room(self, count: int, kept: set[int]) -> None:
        excess = len(self.rows) + count - self.rules.max_rows
        if excess <= 0:
            return
        order = sorted((self.rows[i].version if self.rules.lfu else 0, self.rows[i].touch, i) for i in self.rows)
        victims = [i for _, _, i in order if i not in kept]
        self.remove(victims[: max(excess, self.rules.max_rows // 16)])

    def remove(self, ids: list[int]) -> None:
        for i in ids:
            del self.rows[i]
        self.evicted += len(ids)

    def update(self, i: int, gradient: Floats) -> None:
        if i in self.rows:
            self.rows[i].version += 1
            self.rows[i].update(gradient)
            return
        self.refused += 1
        if self.rules.shared:
            self.common.update(gradient)

    def pull(self, i: int) -> Floats:
        if i in self.rows:
            return self.rows[i].weights
        if self.rules.shared:
            return self.common.weights
        return first(i)

    def tick(self) -> None:
        self.clocks.append(self.time)
        if self.rules.epochs and len(self.clocks) % max(self.rules.epochs // 8, 1) == 0:
            self.evict()

    def evict(self) -> int:
        if not self.rules.epochs or len(self.clocks) <= self.rules.epochs:
            return 0
        last = self.clocks[-1 - self.rules.epochs]
        old = [i for i, row in self.rows.items() if row.touch <= last]
        self.remove(old)
        return len(old)


def first(i: int) -> Floats:
    return INIT.rows(NAME, [i], DIM)[0]


def exported(table: _core.SparseTable, limit: int = 7) -> dict[int, tuple[bytes, int, int]]:
    """Return all rows with their state as bytes, version and touch."""
    found: dict[int, tuple[bytes, int, int]] = {}
    begin = 0
    while begin >= 0:
        ids, values, versions, touches, begin = table.export_rows(begin, limit)
        rows = zip(ids.tolist(), values, versions.tolist(), touches.tolist(), strict=True)
        for i, value, version, touch in rows:
            assert i not in found
            found[i] = (value.tobytes(), version, touch)
    return found


def copied(table: _core.SparseTable, rules: Rules) -> _core.SparseTable:
    """Return a table made of another one's exports."""
    copy = rules.table()
    copy.import_state(table.export_state())
    begin = 0
    while begin >= 0:
        *columns, begin = table.export_rows(begin, 5)
        copy.import_rows(*columns)
    return copy
