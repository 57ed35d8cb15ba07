"""Rules of sparse tables one by one: who is admitted, who goes first, time, exports, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pyccl import _core
from tests.sparse_model import DIM, INIT, NAME, Rules, exported


def ones(count: int) -> np.ndarray:
    return np.ones((count, DIM), np.float32)


def push(table: _core.SparseTable, *ids: int) -> None:
    table.push(np.array(ids, np.int64), ones(len(ids)))


def ids_of(table: _core.SparseTable) -> list[int]:
    return sorted(exported(table))


def test_an_id_gets_its_row_at_the_push_of_that_number() -> None:
    table = Rules(after=3).table()
    for expected in ([], [], [5], [5]):
        push(table, 5)
        assert ids_of(table) == expected
    assert table.versions(np.array([5, 6])).tolist() == [2, 0]
    assert table.counts()["refused"] == 2


def test_the_sketch_is_bounded_and_not_late() -> None:
    table = Rules(after=4, counters=1 << 15).table()
    before = table.counts()["bytes"]
    ids = np.arange(2000) * 977
    for _ in range(3):
        table.push(ids, ones(2000))
    assert table.counts()["rows"] < 20  # so small a sketch takes an id for another now and then
    table.push(ids, ones(2000))
    assert table.counts()["rows"] == 2000
    assert table.counts()["bytes"] - before < 2000 * 100


@pytest.mark.parametrize(("after", "share"), [(2, 0.05), (3, 0.01), (30, 0.0001)])
def test_counts_fade_in_a_long_stream(after: int, share: float) -> None:
    """Without that every id would be admitted at its first push in the end."""
    table = Rules(after=after, counters=1024).table()
    for begin in range(0, 100_000, 1000):
        table.push(np.arange(begin, begin + 1000), ones(1000))
    assert table.counts()["rows"] < share * 100_000


def test_a_share_of_pushes_is_admitted_by_chance() -> None:
    table = Rules(probability=0.25).table()
    ids = np.arange(40_000)
    table.push(ids, ones(len(ids)))
    first = table.counts()["rows"]
    assert abs(first - 10_000) < 500
    table.push(ids, ones(len(ids)))
    assert abs(table.counts()["rows"] - first - 7500) < 500  # another draw at another time


def test_ids_without_a_row_share_one() -> None:
    table = Rules(after=2, shared=True).table()
    start = table.pull(np.array([1, 2]))
    assert (start[0] == start[1]).all()
    push(table, 1)
    assert (table.pull(np.array([7]))[0] < start[0]).all()
    push(table, 1)
    assert table.pull(np.array([7])).tobytes() == table.pull(np.array([8])).tobytes()
    own = table.pull(np.array([1]))
    assert own.tobytes() != table.pull(np.array([7])).tobytes()


def test_pulls_change_nothing() -> None:
    table = Rules(after=2, epochs=1).table()
    push(table, 1)
    before = table.export_state().tobytes()
    first = table.pull(np.array([1, 9]))
    assert first.tobytes() == INIT.rows(NAME, [1, 9], DIM).tobytes()
    assert (table.counts()["rows"], table.export_state().tobytes()) == (0, before)


@pytest.mark.parametrize(
    ("lfu", "left"),
    [(False, [2, 3, 9]), (True, [1, 3, 9])],  # 2 was pushed last of the three, 1 most often
)
def test_who_goes_first(lfu: bool, left: list[int]) -> None:
    table = Rules(max_rows=3, lfu=lfu).table()
    for i in (1, 1, 1, 3, 3, 2):
        push(table, i)
    push(table, 9)
    assert ids_of(table) == left


def test_ties_go_by_id_wherever_rows_lie() -> None:
    tables = [Rules(max_rows=64).table() for _ in range(2)]
    ids = np.random.default_rng(1).permutation(64)
    tables[0].push(ids, ones(64))
    tables[1].push(np.sort(ids), ones(64))
    for table in tables:
        push(table, 1000)
        assert ids_of(table) == [*range(4, 64), 1000]


def test_a_push_never_evicts_its_own_rows() -> None:
    table = Rules(max_rows=4, shared=True).table()
    push(table, 1, 2, 3, 4)
    push(table, 1, 2, 5, 6, 7, 8)
    assert ids_of(table) == [1, 2, 5, 6]
    assert table.counts()["refused"] == 2
    push(table, *range(10, 20))
    assert ids_of(table) == [10, 11, 12, 13]


def test_rows_untouched_for_so_many_clocks_go() -> None:
    table = Rules(epochs=2).table()
    left = []
    for clock in range(6):
        push(table, *range(10 * clock, 10 * clock + (2 if clock < 3 else 0)))
        table.tick()
        left.append(ids_of(table))
    assert left == [[0, 1], [0, 1, 10, 11], [10, 11, 20, 21], [20, 21], [], []]


def test_time_goes_on_beyond_32_bits() -> None:
    """Headers have 32 bits of it: the order of the last 2^31 pushes is kept."""
    table = Rules(max_rows=4).table()
    touches = np.array([5, 2**32 - 9, 2**32 - 3])
    table.import_rows(np.array([1, 2, 3]), np.zeros((3, 2 * DIM), np.float32), np.ones(3, np.int64), touches)
    for _ in range(5):
        push(table, 4)
    assert table.time == 2**32 + 2
    rows = exported(table)
    assert [rows[i][2] for i in (2, 3, 4)] == [2**32 - 9, 2**32 - 3, 2**32 + 2]
    assert 5 <= rows[1][2] < 2**32 - 9
    push(table, 5)
    assert ids_of(table) == [2, 3, 4, 5]


def test_versions_stop_at_32_bits() -> None:
    table = Rules().table()
    table.import_rows(np.array([1]), np.zeros((1, 2 * DIM), np.float32), np.array([2**32 - 2]), np.array([0]))
    push(table, 1)
    push(table, 1)
    assert table.versions(np.array([1])).tolist() == [2**32 - 1]


def test_an_export_sees_every_lasting_row_once_though_others_come_and_go() -> None:
    table = Rules(max_rows=200).table()
    lasting = list(range(100))
    push(table, *lasting)
    seen: list[int] = []
    begin = 0
    while begin >= 0:
        ids, *_, begin = table.export_rows(begin, 9)
        seen += ids.tolist()
        push(table, *lasting)
        push(table, *range(1000 + 50 * len(seen), 1050 + 50 * len(seen)))
    assert sorted(i for i in seen if i < 100) == lasting
    assert table.counts()["evicted"] > 0


def test_pulls_may_go_into_an_array() -> None:
    table = Rules().table()
    push(table, 1)
    out = np.empty((2, DIM), np.float32)
    assert table.pull(np.array([1, 2]), out=out) is out
    assert out.tobytes() == table.pull(np.array([1, 2])).tobytes()


def imported(table: _core.SparseTable, **changed: Any) -> None:
    columns = {
        "ids": np.array([1, 2]), "values": np.zeros((2, 2 * DIM), np.float32),
        "versions": np.array([1, 1]), "touches": np.array([0, 0]),
    }  # fmt: skip
    table.import_rows(**{**columns, **changed})


def state(**changed: int) -> np.ndarray:
    """Return the state of a table that `call` gets, with words of its head changed."""
    words = {"magic": 0, "now": 1, "base": 2, "clock": 3, "marks": 9}
    bytes_ = Rules(max_rows=1, after=2).table().export_state()
    for name, value in changed.items():
        bytes_[8 * words[name] : 8 * words[name] + 8] = np.frombuffer(np.int64(value).tobytes(), np.uint8)
    return bytes_


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda t: t.push(np.array([1, -2]), ones(2)), ValueError, r"ids\[1\] is -2"),
        (lambda t: t.pull(np.array([-(2**63)])), ValueError, r"ids\[0\] is -9223372036854775808"),
        (lambda t: t.versions(np.array([0, -1])), ValueError, r"ids\[1\] is -1"),
        (lambda t: t.push(np.array([1, 2]), ones(3)), ValueError, r"shape \(2, 3\), got \(3, 3\)"),
        (lambda t: t.push(np.array([1]), np.ones((1, DIM + 1), np.float32)), ValueError, r"got \(1, 4\)"),
        (lambda t: t.push(np.array([[1]]), ones(1)), ValueError, "1 dimension"),
        (lambda t: t.push(np.array([0.5]), ones(1)), TypeError, "incompatible"),
        (lambda t: t.pull(np.array([1]), out=ones(2)), ValueError, r"out must have shape \(1, 3\)"),
        (lambda t: t.export_rows(-1, 1), ValueError, "begin is from 0 on"),
        (lambda t: t.export_rows(0, 0), ValueError, "limit from 1 on"),
        (lambda t: imported(t), ValueError, "2 rows are more than max_rows, 1"),
        (lambda t: imported(t, ids=np.array([3, -1])), ValueError, r"ids\[1\] is -1"),
        (lambda t: imported(t, values=ones(2)), ValueError, r"values must have shape \(2, 6\)"),
        (lambda t: imported(t, versions=np.array([1, 2**32])), ValueError, r"versions\[1\] is 4294967296"),
        (lambda t: imported(t, touches=np.array([-1, 0])), ValueError, r"touches\[0\] is -1"),
        (lambda t: imported(t, touches=np.array([1])), ValueError, r"touches must have shape \(2,\)"),
        (lambda t: t.import_state(np.zeros(5, np.uint8)), ValueError, "cut off"),
        (lambda t: t.import_state(state()[:-1]), ValueError, "cut off"),
        (lambda t: t.import_state(state(magic=7)), ValueError, "not one of a sparse table"),
        (lambda t: t.import_state(state(now=2**33)), ValueError, "not one of a sparse table"),
        (lambda t: t.import_state(state(base=-1)), ValueError, "not one of a sparse table"),
        (lambda t: t.import_state(state(marks=2**62)), ValueError, "not one of a sparse table"),
        (lambda t: t.import_state(Rules().table().export_state()), ValueError, "other settings"),
    ],
)
def test_bad_calls_change_nothing(
    call: Callable[[_core.SparseTable], object], error: type[Exception], text: str
) -> None:
    table = Rules(max_rows=1, after=2).table()
    before = table.export_state().tobytes()
    with pytest.raises(error, match=text):
        call(table)
    assert (table.counts()["rows"], table.export_state().tobytes()) == (0, before)


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        ({"after": 0}, "after is from 1"),
        ({"after": 65536}, "after is from 1"),
        ({"probability": 0.0}, "probability is above 0"),
        ({"probability": float("nan")}, "probability is above 0"),
        ({"counters": 31}, "counters are from 32"),
        ({"max_rows": -1}, "max_rows must not be negative"),
        ({"epochs": 2**20 + 1}, "epochs must be from 0"),
    ],
)
def test_settings_are_checked(rules: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Rules(**rules).table()


@pytest.mark.parametrize("dim", [0, -1, 2**24 + 1])
def test_dim_is_checked(dim: int) -> None:
    with pytest.raises(ValueError, match=f"dim must be from 1 to 2\\^24, got {dim}"):
        _core.SparseTable(dim, 0, _core.Optimizer("sgd", 0.1), INIT.native())


@pytest.mark.parametrize("dim", [1, 5, 2**16, 2**24])
def test_rows_of_any_length(dim: int) -> None:
    table = _core.SparseTable(dim, 0, _core.Optimizer("sgd", 1.0), _core.SparseInitializer(0, 2.0, 0.0, 0))
    rows = np.random.default_rng(1).integers(0, 9, (3, dim)).astype(np.float32)
    table.push(np.array([4, 2**62, 9]), rows)
    assert (table.pull(np.array([9, 4, 2**62])) == 2 - rows[[2, 0, 1]]).all()
