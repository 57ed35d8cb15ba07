"""Checks of arguments that several collectives share: each raises TypeError or ValueError, naming the argument."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import index
from typing import Any, SupportsIndex

import numpy as np

from pyccl.arrays import NumpyArray, empty_like, overlap, resolve

__all__ = ["block_counts", "dimensions", "disjoint", "flag", "integer", "output", "seconds", "split_arguments"]


def block_counts(counts: Sequence[int] | None, size: int, name: str = "counts") -> tuple[int, ...]:
    """Return counts as a tuple, () for None, once they are one non-negative integer per rank."""
    if counts is None:
        return ()
    try:
        values = tuple(index(c) for c in counts)
    except TypeError:
        raise TypeError(f"{name} must be integers, one per rank, got {counts!r}") from None
    if len(values) != size:
        raise ValueError(f"{name} must have one entry per rank, got {len(values)} for {size} ranks")
    if any(c < 0 for c in values):
        raise ValueError(f"{name} must not be negative, got {min(values)}")
    if sum(values) >= 2**60:
        raise ValueError(f"{name} are more elements than any memory holds: {sum(values)}")
    return values


def integer(value: SupportsIndex, name: str, low: int, high: int) -> int:
    """Return a plain int once `value` is an integer in ``[low, high)``; a bool is not one."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}") from None
    if not low <= number < high:
        raise ValueError(f"{name} must be in [{_power(low)}, {_power(high)}), got {number}")
    return number


def _power(value: int) -> str:
    return {-(2**31): "-2**31", 2**31: "2**31", 2**62: "2**62"}.get(value, str(value))


def flag(value: bool, name: str) -> bool:
    """Return `value` once it is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {type(value).__name__}")
    return bool(value)


def split_arguments(color: int | None, key: int) -> tuple[int | None, int]:
    """Return the arguments of `Communicator.split` once they are known to be good."""
    return None if color is None else integer(color, "color", 0, 2**31), integer(key, "key", -(2**31), 2**31)


def dimensions(shape: int | Sequence[int]) -> tuple[int, ...]:
    """Return a shape as a tuple."""
    try:
        return tuple(index(n) for n in ((shape,) if isinstance(shape, SupportsIndex) else shape))
    except TypeError:
        raise TypeError(f"shape must be an integer or a sequence of them, got {shape!r}") from None


def seconds(timeout: float | None) -> float:
    """Return a timeout in seconds, -1 for the communicator's own."""
    if timeout is None:
        return -1.0
    real = isinstance(timeout, (int, float, np.integer, np.floating)) and not isinstance(timeout, bool)
    value = float(timeout) if real else math.nan
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"timeout must be a positive number of seconds, got {timeout!r}")
    return value


def output(x: Any, out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[Any, NumpyArray]:
    """Return the result object and its view: a new array, or `out` once it is known to fit."""
    if out is None:
        return empty_like(x, shape, dtype)
    view = resolve(out, "out", writable=True)
    if view.dtype != dtype:
        raise TypeError(f"out must have dtype {dtype}, got {view.dtype}")
    if view.size != math.prod(shape):
        raise ValueError(f"out must have {math.prod(shape)} elements (shape {shape}), got shape {view.shape}")
    return out, view


def disjoint(a: NumpyArray, b: NumpyArray, slot: int | None = None) -> None:
    """Refuse overlapping arrays, except `b` being `a`, or the smaller lying at element `slot` of the larger."""
    if not overlap(a, b):
        return
    small, large = (a, b) if a.nbytes <= b.nbytes else (b, a)
    start = small.__array_interface__["data"][0] - large.__array_interface__["data"][0]
    if slot is None or start != slot * a.itemsize:
        raise ValueError("out overlaps x without being the same array")
