"""Rows before their first update: a server's bits against formulas, and parameters that are refused."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from pyccl import _core
from pyccl.errors import ConfigError
from pyccl.initializers import Constant, Initializer, Normal, Uniform, Zeros, table_key

DIM = 7  # no multiple of a block of four
IDS = [0, 1, 2**31 - 1, 2**31, 2**63 - 1]
MASK = 2**64 - 1


def mix(x: int) -> int:
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


def random_words(seed: int, table: str, row: int, dim: int) -> list[int]:
    key = mix((mix(table_key(table)) + seed) & MASK)
    blocks = (_core.sim_philox([row & 0xFFFFFFFF, row >> 32, block, ord("I")], key) for block in range(-(-dim // 4)))
    return [word for block in blocks for word in block][:dim]


@pytest.mark.parametrize("dim", [1, DIM, 256, 1000])
def test_uniform_rows_are_those_of_the_formula(dim: int) -> None:
    rows = Uniform(-1.0, 3.0, seed=2**64 - 1).rows("emb", IDS, dim)
    for i, row in zip(IDS, rows, strict=True):
        share = (np.array(random_words(2**64 - 1, "emb", i, dim)) // 512 + 0.5) / 2**23
        np.testing.assert_allclose(row, -1.0 + 4.0 * share, rtol=0, atol=5e-7)


def test_normal_rows_are_quantiles_of_the_same_numbers() -> None:
    rows = Normal(0.5, 2.0, seed=9).rows("emb", range(500), 100)
    for i, row in enumerate(rows):
        numbers = np.array(random_words(9, "emb", i, 100), np.uint32).view(np.int32) >> 8
        expected = [NormalDist(0.5, 2.0).inv_cdf((number + 0.5) / 2**24 + 0.5) for number in numbers]
        np.testing.assert_allclose(row, expected, rtol=0, atol=6e-6)


def test_normal_rows_are_normal() -> None:
    rows = Normal(seed=1).rows("emb", range(20_000), 50).ravel()
    assert abs(rows.mean()) < 4e-3
    assert abs(rows.std() - 1) < 4e-3
    for z in (-3.0, -1.0, 0.0, 0.5, 2.0, 4.0):
        share = NormalDist().cdf(z)
        assert abs((rows < z).mean() - share) < 5 * (share * (1 - share) / rows.size) ** 0.5


@pytest.mark.parametrize("how", [Uniform(0, 1), Normal()])
def test_a_row_follows_from_seed_table_and_id(how: Initializer) -> None:
    together = how.rows("emb", [*IDS, IDS[0]], DIM)
    alone = np.concatenate([how.rows("emb", [i], DIM) for i in [*IDS, IDS[0]]])
    assert together.tobytes() == alone.tobytes()
    others = [how.rows("emb2", IDS, DIM), type(how)(seed=1, **bounds(how)).rows("emb", IDS, DIM)]
    numbers = np.concatenate([how.rows("emb", IDS, DIM), *others]).ravel()
    assert len(np.unique(numbers)) == numbers.size
    assert how.rows("emb", IDS, DIM)[:, :3].tobytes() == how.rows("emb", IDS, 3).tobytes()


def bounds(how: Initializer) -> dict[str, Any]:
    return {"low": 0, "high": 1} if isinstance(how, Uniform) else {}


def test_constants_and_bounds() -> None:
    assert (Zeros().rows("emb", IDS, DIM) == 0).all()
    assert (Constant(-2).rows("emb", IDS, DIM) == -2).all()
    assert (Uniform(0.1, 0.1).rows("emb", IDS, DIM) == np.float32(0.1)).all()
    assert (Normal(3.0, 0.0).rows("emb", IDS, DIM) == 3).all()
    assert Zeros().rows("emb", [], DIM).shape == (0, DIM)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Constant(float("nan")), "value must be a finite number"),
        (lambda: Constant("1"), "value must be a finite number"),
        (lambda: Uniform(1.0, 0.0), "low must not be above high"),
        (lambda: Uniform(-3e38, 3e38), "farther than float32 reaches"),
        (lambda: Uniform(0.0, 1e39), "high must be a finite number within float32"),
        (lambda: Normal(std=-1.0), "std must not be negative"),
        (lambda: Normal(std=3e38), "lead out of float32"),
        (lambda: Normal(seed=-1), "seed must be a whole number"),
        (lambda: Normal(seed=2**64), "seed must be a whole number"),
        (lambda: Uniform(0, 1, seed=1.0), "seed must be a whole number"),
    ],
)
def test_parameters_are_checked(make: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        make()


@pytest.mark.parametrize(
    ("ids", "dim", "error", "text"),
    [
        ([3, -5], 2, ValueError, r"ids\[1\] is -5"),
        (np.array([1, 2**63], np.uint64), 2, ValueError, r"ids\[1\] is 9223372036854775808"),
        ([0.5], 2, TypeError, "must be integers"),
        ([[1]], 2, ValueError, r"shape \(n,\)"),
        ([1], 0, ValueError, "dim must be from 1"),
    ],
)
def test_ids_are_checked(ids: Any, dim: int, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Zeros().rows("emb", ids, dim)
