"""What rows of a sparse table hold before their first update.

A row follows from the seed, the table's name and the row's id alone: whoever makes it makes the same one.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyccl import _core
from pyccl.errors import ConfigError

__all__ = ["Constant", "Initializer", "Normal", "Uniform", "Zeros"]

_CONSTANT, _UNIFORM, _NORMAL = range(3)  # csrc/server/initializer.h
_LARGEST = float(np.finfo(np.float32).max)


class Initializer(ABC):
    """How a row begins."""

    @abstractmethod
    def native(self) -> _core.SparseInitializer:
        """Return the object that a server makes rows with."""

    def rows(self, table: str, ids: ArrayLike, dim: int) -> NDArray[np.float32]:
        """Return the rows of a table as its servers make them.

        Parameters
        ----------
        table : str
            The table's name.
        ids : array of int, shape (n,)
            From 0 to 2**63 - 1; duplicates are fine.
        dim : int
            Numbers in a row.

        Returns
        -------
        array of float32, shape (n, dim)

        Raises
        ------
        ValueError
            If an id is negative or too large (the message has its position), `ids` has not one dimension, or `dim` is
            below 1.
        TypeError
            If `ids` are not integers.

        Examples
        --------
        >>> Constant(0.5).rows("emb", [7, 2**62], dim=3)
        array([[0.5, 0.5, 0.5],
               [0.5, 0.5, 0.5]], dtype=float32)
        """
        return self.native().rows(table_key(table), int64_ids(ids), dim)


@dataclass(frozen=True)
class Zeros(Initializer):
    """Rows of zeros.

    Examples
    --------
    >>> Zeros().rows("emb", [3], dim=2)
    array([[0., 0.]], dtype=float32)
    """

    def native(self) -> _core.SparseInitializer:
        return _core.SparseInitializer(_CONSTANT, 0.0, 0.0, 0)


@dataclass(frozen=True)
class Constant(Initializer):
    """Rows of one value.

    Parameters
    ----------
    value : float
        Finite, within float32.

    Raises
    ------
    ConfigError
        If it is not.

    Examples
    --------
    >>> Constant(1.5).rows("emb", [3], dim=2)
    array([[1.5, 1.5]], dtype=float32)
    """

    value: float

    def __post_init__(self) -> None:
        _check_number(self, "value", self.value)

    def native(self) -> _core.SparseInitializer:
        return _core.SparseInitializer(_CONSTANT, self.value, 0.0, 0)


@dataclass(frozen=True)
class Uniform(Initializer):
    """Numbers drawn evenly from `low` to `high`.

    Parameters
    ----------
    low, high : float
        Finite, within float32, `low` not above `high`.
    seed : int, default 0
        From 0 to 2**64 - 1.

    Raises
    ------
    ConfigError
        If a parameter is not so.

    Examples
    --------
    >>> how = Uniform(-0.1, 0.1, seed=1)
    >>> rows = how.rows("emb", [5, 6, 5], dim=8)
    >>> bool((abs(rows) <= 0.1).all()), bool((rows[0] == rows[2]).all()), bool((rows[0] == rows[1]).any())
    (True, True, False)
    """

    low: float
    high: float
    seed: int = 0

    def __post_init__(self) -> None:
        for field in ("low", "high"):
            _check_number(self, field, getattr(self, field))
        _check_seed(self, self.seed)
        if not self.low <= self.high:
            raise ConfigError(f"Uniform: low must not be above high, got {self.low!r} and {self.high!r}")
        if self.high - self.low > _LARGEST:
            raise ConfigError(f"Uniform: from {self.low!r} to {self.high!r} is farther than float32 reaches")

    def native(self) -> _core.SparseInitializer:
        return _core.SparseInitializer(_UNIFORM, self.low, self.high, self.seed)


@dataclass(frozen=True)
class Normal(Initializer):
    """Numbers drawn from a normal distribution, within 5.3 standard deviations.

    Parameters
    ----------
    mean, std : float
        Finite, within float32; `std` not negative.
    seed : int, default 0
        From 0 to 2**64 - 1.

    Raises
    ------
    ConfigError
        If a parameter is not so.

    Examples
    --------
    >>> rows = Normal(0.0, 0.01, seed=1).rows("emb", range(1000), dim=64)
    >>> bool(abs(rows.mean()) < 1e-4), round(float(rows.std()), 3)
    (True, 0.01)
    """

    mean: float = 0.0
    std: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for field in ("mean", "std"):
            _check_number(self, field, getattr(self, field))
        _check_seed(self, self.seed)
        if self.std < 0:
            raise ConfigError(f"Normal: std must not be negative, got {self.std!r}")
        if abs(self.mean) + 6 * self.std > _LARGEST:
            raise ConfigError(f"Normal: mean {self.mean!r} and std {self.std!r} lead out of float32")

    def native(self) -> _core.SparseInitializer:
        return _core.SparseInitializer(_NORMAL, self.mean, self.std, self.seed)


def table_key(name: str) -> int:
    """Return the 64-bit number that stands for a table's name wherever random numbers depend on it.

    Examples
    --------
    >>> table_key("emb") == table_key("emb") != table_key("emb2")
    True
    """
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def int64_ids(ids: ArrayLike) -> NDArray[np.int64]:
    """Return ids as int64; TypeError or ValueError if they cannot be."""
    array = np.asarray(ids)
    if array.ndim != 1:
        raise ValueError(f"ids must have shape (n,), got {array.shape}")
    if array.size == 0:
        return array.astype(np.int64)
    if array.dtype == object and all(isinstance(number, int) for number in array.flat):
        raise ValueError("ids must be from 0 to 2**63 - 1")
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"ids must be integers, got {array.dtype}")
    if array.dtype == np.uint64 and (too_large := np.flatnonzero(array > np.iinfo(np.int64).max)).size:
        raise ValueError(f"ids must be below 2**63, ids[{too_large[0]}] is {array.flat[too_large[0]]}")
    return array.astype(np.int64, copy=False)


def _check_number(owner: Initializer, field: str, value: object) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or abs(value) > _LARGEST:  # type: ignore[arg-type]
        raise ConfigError(f"{type(owner).__name__}: {field} must be a finite number within float32, got {value!r}")


def _check_seed(owner: Initializer, seed: object) -> None:
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 1 << 64:
        raise ConfigError(f"{type(owner).__name__}: seed must be a whole number from 0 to 2**64 - 1, got {seed!r}")
