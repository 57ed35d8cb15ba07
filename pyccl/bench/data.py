"""Inputs that are exact in their dtype, what must come out of them, and the check, at memory speed.

Every rank's contribution is a table of small random integers, repeated along the array and shifted from iteration to
iteration, so that a stale result is wrong. The period is a prime: no chunk, page or segment size is a multiple of it,
so that a misplaced chunk is wrong as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

PERIOD = 4093
PREMUL_FACTOR = 2
_BLOCK_ROWS = 16  # 256 KiB of float64 at most: a block and its mask stay in L2
_STRIDE = 1009


def phase(iteration: int) -> int:
    """Return how far the tables are shifted in `iteration`."""
    return iteration * _STRIDE % PERIOD


def dtype_of(name: str) -> np.dtype[Any]:
    """Return the NumPy dtype that pyccl calls `name`, bfloat16 included.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name == "bfloat16":
        import ml_dtypes

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    try:
        dtype: np.dtype[Any] = np.dtype(name)
    except TypeError as error:
        raise ValueError(f"unknown dtype {name!r}") from error
    return dtype


def largest_exact(dtype: np.dtype[Any]) -> int:
    """Return an integer up to which all non-negative integers are exact in `dtype`."""
    if dtype.kind == "b":
        return 1
    if dtype.kind in "iu":
        return int(np.iinfo(dtype).max)
    if dtype.name == "bfloat16":
        return 1 << 8
    real = np.zeros(0, dtype).real.dtype
    return 1 << (int(np.finfo(real).nmant) + 1)


def contributions(dtype: np.dtype[Any], op: str, size: int) -> Array:
    """Return a (size, PERIOD) table of every rank's values: results of `op` on them are exact in `dtype`."""
    rng = np.random.default_rng(20)
    bound = largest_exact(dtype)
    unit = size if op == "avg" else 1
    scale = {"sum": size, "avg": size, "premul_sum": size * PREMUL_FACTOR}.get(op, 1)
    if op == "prod":  # six factors of two at most: 64 is exact everywhere
        table = rng.integers(1, min(bound, 2), (size, PERIOD), endpoint=True)
        table[6:] = 1
    else:
        top = max(min(127, bound // (scale * unit)), 1)
        table = rng.integers(0, top, (size, PERIOD), endpoint=True) * unit
        table[max(bound // (scale // size * unit), 1) if scale > 1 else size :] = 0
    values = table.astype(np.float32 if dtype.name == "bfloat16" else dtype)
    return values.astype(dtype)


def reduced(table: Array, op: str) -> Array:
    """Return what `op` over the ranks makes of `table`, computed where it is exact."""
    dtype = table.dtype
    wide = table if dtype.kind in "biu" else table.astype(np.complex128 if dtype.kind == "c" else np.float64)
    if op in ("sum", "avg", "premul_sum"):
        total = wide.sum(axis=0)
        result = total / len(table) if op == "avg" else total * (PREMUL_FACTOR if op == "premul_sum" else 1)
    else:
        functions: dict[str, Any] = {
            "prod": np.multiply,
            "min": np.minimum,
            "max": np.maximum,
            "band": np.bitwise_and,
            "bor": np.bitwise_or,
            "bxor": np.bitwise_xor,
        }
        result = functions[op].reduce(wide, axis=0)
    return np.asarray(result).astype(dtype)


class Pattern:
    """A periodic array: element i at phase f is table[(i + f) % PERIOD]."""

    def __init__(self, table: Array) -> None:
        self._twice = _bits(np.concatenate([table, table]))

    def _row(self, start: int) -> Array:
        start %= PERIOD
        return self._twice[start : start + PERIOD]

    def fill(self, x: Array, start: int) -> None:
        """Write the pattern from phase `start` into the flat array `x`."""
        x, row = _bits(x), self._row(start)
        whole = x.size // PERIOD * PERIOD
        x[:whole].reshape(-1, PERIOD)[...] = row
        x[whole:] = row[: x.size - whole]

    def wrong(self, x: Array, start: int, sample: int = 1) -> int:
        """Return how many elements of `x` differ; of a long array only one block in `sample` is read."""
        x, row = _bits(x), self._row(start)
        whole = x.size // PERIOD * PERIOD
        bad = int(np.count_nonzero(x[whole:] != row[: x.size - whole]))
        rows = x[:whole].reshape(-1, PERIOD)
        step = _BLOCK_ROWS * sample
        for first in range(start % sample * _BLOCK_ROWS if sample > 1 else 0, len(rows), step):
            bad += int(np.count_nonzero(rows[first : first + _BLOCK_ROWS] != row))
        return bad


def _bits(x: Array) -> Array:
    """16-bit floats as integers: NumPy compares those at memory speed, and every expected value has one bit pattern."""
    return x.view(np.uint16) if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x


@dataclass(frozen=True)
class Segment:
    """`count` elements of an array from `start` on, which follow `pattern` from phase `offset`."""

    start: int
    count: int
    pattern: Pattern
    offset: int

    def fill(self, x: Array, shift: int) -> None:
        """Write the pattern, shifted, into this part of `x`."""
        self.pattern.fill(x[self.start : self.start + self.count], self.offset + shift)

    def wrong(self, x: Array, shift: int, sample: int) -> int:
        """Return how many elements of this part of `x` differ from the shifted pattern."""
        return self.pattern.wrong(x[self.start : self.start + self.count], self.offset + shift, sample)
