"""Sparse tables: against a model in plain Python, and replicas that replay the same log."""

from __future__ import annotations

import resource
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pyccl import _core
from tests.sparse_model import DIM, Model, Row, Rules, copied, exported

EDGES = [0, 1, 2**31 - 1, 2**31, 2**32, 2**63 - 2, 2**63 - 1]
SOME_IDS = st.integers(0, 30) | st.sampled_from(EDGES)
RULES = st.builds(
    Rules,
    after=st.integers(1, 3),
    shared=st.booleans(),
    max_rows=st.sampled_from([0, 1, 4, 20]),
    lfu=st.booleans(),
    epochs=st.sampled_from([0, 1, 2, 17]),
)


class TableMachine(RuleBasedStateMachine):
    @initialize(rules=RULES)
    def start(self, rules: Rules) -> None:
        self.rules, self.table = rules, rules.table()
        self.model = Model(rules, common=Row(self.table.pull(np.array([99]))[0]))

    @rule(ids=st.lists(SOME_IDS, unique=True, max_size=12), seed=st.integers(0, 99))
    def push(self, ids: list[int], seed: int) -> None:
        gradients = np.random.default_rng(seed).integers(-3, 4, (len(ids), DIM)).astype(np.float32)
        self.table.push(np.array(ids, np.int64), gradients)
        self.model.push(ids, gradients)

    @rule(ids=st.lists(SOME_IDS, max_size=40))
    def pull(self, ids: list[int]) -> None:
        rows = self.table.pull(np.array(ids, np.int64))
        expected = np.array([self.model.pull(i) for i in ids], np.float32).reshape(len(ids), DIM)
        np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-4)

    @rule()
    def tick(self) -> None:
        self.table.tick()
        self.model.tick()

    @rule()
    def evict(self) -> None:
        assert self.table.evict() == self.model.evict()

    @rule()
    def move(self) -> None:
        before = exported(self.table)
        self.table = copied(self.table, self.rules)
        assert exported(self.table) == before

    @rule(position=st.integers(0, 2))
    def push_badly(self, position: int) -> None:
        ids = np.array([40, 41, 42])
        ids[position] = -7
        state = self.table.export_state().tobytes()
        with pytest.raises(ValueError, match=rf"ids\[{position}\] is -7"):
            self.table.push(ids, np.ones((3, DIM), np.float32))
        assert self.table.export_state().tobytes() == state

    @precondition(lambda self: hasattr(self, "model"))
    @invariant()
    def same(self) -> None:
        rows = {i: row[1:] for i, row in exported(self.table).items()}
        assert rows == {i: (row.version, row.touch) for i, row in self.model.rows.items()}
        assert (self.table.time, self.table.clock) == (self.model.time, len(self.model.clocks))
        counts = self.table.counts()
        assert (counts["rows"], counts["created"], counts["evicted"], counts["refused"]) == (
            len(rows), self.model.created, self.model.evicted, self.model.refused,
        )  # fmt: skip
        ids = [*EDGES, *range(31)]
        versions = self.table.versions(np.array(ids))
        assert versions.tolist() == [rows[i][0] if i in rows else 0 for i in ids]


TestTable = TableMachine.TestCase
TestTable.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def play(tables: list[_core.SparseTable], seed: int, count: int) -> None:
    """Give the same random calls to all tables."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        ids = np.unique(random.zipf(1.2, random.integers(1, 60)) % 700) * (2**53 + 1)
        random.shuffle(ids)
        gradients = random.standard_normal((len(ids), DIM), np.float32)
        ticks = random.random() < 0.2
        for table in tables:
            table.push(ids, gradients, scale=0.5)
            if ticks:
                table.tick()


@pytest.mark.parametrize("lfu", [False, True])
@pytest.mark.parametrize(
    "rules", [{"after": 2}, {"probability": 0.3}, {"after": 2, "probability": 0.5, "shared": True}]
)
def test_replicas_that_replay_a_log_have_the_same_bits(lfu: bool, rules: dict[str, Any]) -> None:
    """One from the start, one that was copied from another half way, as a new tail of a chain is."""
    setting = Rules(max_rows=300, lfu=lfu, epochs=20, counters=512, **rules)
    first, second = setting.table(), setting.table()
    play([first, second], seed=1, count=400)
    third = copied(first, setting)
    play([first, second, third], seed=2, count=400)
    rows = exported(first)
    assert len(rows) > 30
    assert first.counts()["evicted"] > 100
    for other in (second, third):
        assert exported(other) == rows
        assert other.export_state().tobytes() == first.export_state().tobytes()
    some = np.arange(700) * (2**53 + 1)
    assert third.pull(some).tobytes() == first.pull(some).tobytes()


@pytest.mark.parametrize("stride", [1, 2**40 + 1])
def test_every_row_is_found_while_the_index_grows_and_shrinks(stride: int) -> None:
    rules = Rules(max_rows=60_000, epochs=3)
    table = rules.table()
    random = np.random.default_rng(3)
    for _ in range(30):
        ids = np.unique(random.integers(0, 2**22, 10_000)) * stride
        table.push(ids, np.ones((len(ids), DIM), np.float32))
        table.tick()
    ids, values, versions, _, end = table.export_rows(0, 1 << 30)
    assert end == -1
    assert 10_000 < len(ids) == len(set(ids.tolist())) == table.counts()["rows"]
    assert table.pull(ids).tobytes() == values[:, :DIM].tobytes()
    assert table.versions(ids).tolist() == versions.tolist()
    gone = np.setdiff1d(np.arange(0, 2**22, 7) * stride, ids)
    assert not table.versions(gone).any()


@pytest.mark.parametrize("lfu", [False, True])
def test_memory_stays_flat(lfu: bool) -> None:
    table = Rules(after=2, max_rows=2000, lfu=lfu, epochs=50, shared=True).table()
    random = np.random.default_rng(5)
    gradients = np.ones((16, DIM), np.float32)

    def push(count: int) -> None:
        for begin in range(count):
            ids = np.unique(random.integers(0, 20_000, 16))
            table.push(ids, gradients[: len(ids)])
            if begin % 200 == 0:
                table.tick()

    push(20_000)
    reported, resident = table.counts()["bytes"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    push(80_000)
    assert table.counts()["evicted"] > 10_000
    assert table.counts()["bytes"] == reported
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident < 4096  # KiB


def test_memory_is_little_more_than_rows_and_state() -> None:
    rows = 300_000
    optimizer, zeros = _core.Optimizer("adagrad", 0.1, epsilon=1e-8), _core.SparseInitializer(0, 0.0, 0.0, 0)
    table = _core.SparseTable(16, 0, optimizer, zeros)
    for begin in range(0, rows, 10_000):
        table.push(np.arange(begin, begin + 10_000), np.ones((10_000, 16), np.float32))
    assert table.counts()["bytes"] < 1.3 * rows * 16 * 2 * 4
