"""Sums over duplicate ids, and the division of ids among shards."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyccl import _core

SOME_IDS = st.sampled_from([0, 1, 2, 2**31, 2**63 - 1])
AWKWARD = st.floats(width=32, allow_nan=True, allow_infinity=True)


def arrays(pairs: list[tuple[int, list[float]]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([i for i, _ in pairs], np.int64), np.array([row for _, row in pairs], np.float32).reshape(-1, 2)


@given(pairs=st.lists(st.tuples(SOME_IDS, st.lists(AWKWARD, min_size=2, max_size=2)), max_size=12), data=st.data())
def test_bits_do_not_depend_on_the_order(pairs: list[tuple[int, list[float]]], data: st.DataObject) -> None:
    def sums(some: list[tuple[int, list[float]]]) -> dict[int, bytes]:
        unique, rows, inverse = _core.sparse_sum(*arrays(some))
        assert unique[inverse].tolist() == [i for i, _ in some]
        assert unique.tolist() == list(dict.fromkeys(i for i, _ in some))
        return {i: row.tobytes() for i, row in zip(unique.tolist(), rows, strict=True)}

    assert sums(pairs) == sums(data.draw(st.permutations(pairs)))


@pytest.mark.parametrize(("count", "distinct"), [(0, 1), (1, 1), (1000, 1), (1000, 37), (5000, 10**18)])
@pytest.mark.parametrize("dim", [1, 3, 64])
def test_sums_are_those_of_float64(count: int, distinct: int, dim: int) -> None:
    random = np.random.default_rng(count + dim)
    ids = random.integers(0, distinct, count)
    rows = random.standard_normal((count, dim), np.float32)
    unique, sums, inverse = _core.sparse_sum(ids, rows)
    expected = np.zeros((len(unique), dim))
    np.add.at(expected, inverse, rows.astype(np.float64))
    assert sorted(unique) == sorted(set(ids.tolist()))
    np.testing.assert_allclose(sums, expected, rtol=1e-6, atol=1e-12)


def test_large_numbers_do_not_swallow_small_ones() -> None:
    rows = np.array([[2.0**24], [1.0], [1.0], [-(2.0**24)]], np.float32)
    assert _core.sparse_sum(np.zeros(4, np.int64), rows)[1].tolist() == [[2.0]]


@pytest.mark.parametrize("stride", [1, 2, 64, 2**20, 2**32])
@pytest.mark.parametrize("shards", [1, 2, 3, 8, 100])
def test_ids_spread_over_shards(stride: int, shards: int) -> None:
    """Dense small ids, and those of a stride, never land on one server."""
    count = 200 * shards
    loads = np.bincount(_core.sparse_shard_of(np.arange(count) * stride, shards), minlength=shards)
    chi_squared = ((loads - 200) ** 2 / 200).sum()
    assert chi_squared < shards - 1 + 6 * (2 * shards) ** 0.5


def test_ids_of_one_shard_are_no_burden_to_its_table() -> None:
    ids = np.arange(400_000)
    ids = ids[_core.sparse_shard_of(ids, 16) == 3]
    optimizer, zeros = _core.Optimizer("sgd", 0.1), _core.SparseInitializer(0, 0.0, 0.0, 0)
    table, other = (_core.SparseTable(1, 0, optimizer, zeros) for _ in range(2))
    table.push(ids, np.ones((len(ids), 1), np.float32))
    other.push(np.random.default_rng(1).integers(0, 2**62, len(ids)), np.ones((len(ids), 1), np.float32))
    assert table.counts()["bytes"] < 1.3 * other.counts()["bytes"]


@given(ids=st.lists(st.integers(0, 2**63 - 1), max_size=50), shards=st.integers(1, 7))
def test_partition_is_stable_and_complete(ids: list[int], shards: int) -> None:
    array = np.array(ids, np.int64)
    of = _core.sparse_shard_of(array, shards)
    starts, positions = _core.sparse_partition(array, shards)
    assert len(starts) == shards + 1
    assert positions.tolist() == np.argsort(of, kind="stable").tolist()
    for shard in range(shards):
        assert (of[positions[starts[shard] : starts[shard + 1]]] == shard).all()


def test_bad_arguments_are_refused() -> None:
    one = np.ones((1, 2), np.float32)
    with pytest.raises(ValueError, match=r"ids\[2\] is -1"):
        _core.sparse_partition(np.array([0, 2**63 - 1, -1]), 2)
    with pytest.raises(ValueError, match="shards must be at least 1"):
        _core.sparse_shard_of(np.array([0]), 0)
    with pytest.raises(ValueError, match=r"rows must have shape \(2, 2\), got \(1, 2\)"):
        _core.sparse_sum(np.array([1, 2]), one)
