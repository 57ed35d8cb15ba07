"""What tables are: their definition, the same on every rank, and how they are made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyccl import _core
from pyccl.arrays import NumpyArray, resolve
from pyccl.errors import ConfigError
from pyccl.initializers import Initializer, table_key
from pyccl.optim import Optimizer
from pyccl.policy import Policy
from pyccl.server.flows import Flow, flow_of

__all__ = ["DenseTable", "RowRules", "SparseTable", "dense_table", "finite", "sparse_table"]

NAN = ("raise", "skip", "pass")
_EVICT = ("lru", "lfu")


@dataclass(frozen=True)
class RowRules:
    """Which ids of a sparse table get a row, and which rows go.

    Parameters
    ----------
    after : int, default 1
        A row is made at the id's push of that number (counted in a sketch of fixed size, which may count too many).
    probability : float, default 1.0
        That a push makes the row.
    shared : bool, default False
        Whether ids without a row push to and pull from one out-of-vocabulary row; else their gradients are counted
        and dropped, and pulls give the initialiser's values.
    max_rows : int, optional
        Per shard.
    evict : {"lru", "lfu"}, default "lru"
        Which rows go when there are more: those untouched for longest, or with the fewest updates.
    epochs : int, optional
        Rows untouched for that many clocks go.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    after: int = 1
    probability: float = 1.0
    shared: bool = False
    max_rows: int | None = None
    evict: str = "lru"
    epochs: int | None = None

    def __post_init__(self) -> None:
        if self.evict not in _EVICT:
            raise ConfigError(f"RowRules: evict must be one of {', '.join(_EVICT)}, got {self.evict!r}")
        for name in ("after", "max_rows", "epochs"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ConfigError(f"RowRules: {name} must be a whole number of at least 1, got {value!r}")
        if not 0 < self.probability <= 1:
            raise ConfigError(f"RowRules: probability must be above 0 and at most 1, got {self.probability!r}")

    def setting(self, name: str, dim: int, init: Initializer) -> _core.SparseSetting:
        """Return what a server makes a table of."""
        try:
            return _core.SparseSetting(
                dim=dim,
                table=table_key(name),
                initializer=init.native(),
                after=self.after,
                probability=self.probability,
                shared=self.shared,
                max_rows=self.max_rows or 0,
                lfu=self.evict == "lfu",
                epochs=self.epochs or 0,
            )
        except ValueError as error:
            raise ConfigError(f"table {name!r}: {error}") from None


@dataclass(frozen=True)
class _Common:
    name: str
    optimizer: Optimizer
    policy: Policy
    nan: str
    flow: Flow


@dataclass(frozen=True)
class DenseTable(_Common):
    """A table of one array."""

    shape: tuple[int, ...]
    start: NumpyArray

    def said(self) -> str:
        """Return all that ranks must agree on."""
        digest = hashlib.blake2b(self.start.data, digest_size=16).hexdigest()
        return f"{self.name!r}, shape {self.shape}, values {digest}, {self.optimizer!r}, {self.policy!r}, {self.nan}"


@dataclass(frozen=True)
class SparseTable(_Common):
    """A table of rows by id."""

    dim: int
    init: Initializer
    rules: RowRules
    setting: _core.SparseSetting

    def said(self) -> str:
        """Return all that ranks must agree on."""
        return (
            f"{self.name!r}, dim {self.dim}, {self.init!r}, {self.rules!r}, "
            f"{self.optimizer!r}, {self.policy!r}, {self.nan}"
        )


def _common(name: str, optimizer: Any, policy: Any, nan: str, *, sparse: bool) -> dict[str, Any]:
    if not isinstance(name, str) or not name:
        raise TypeError(f"the name of a table must be a text, got {name!r}")
    if not isinstance(policy, Policy):
        raise TypeError(f"consistency must be a policy such as pyccl.SSP(3), got {policy!r}")
    if nan not in NAN:
        raise ValueError(f"nan must be one of {', '.join(NAN)}, got {nan!r}")
    flow = flow_of(policy, optimizer, sparse=sparse)
    return {"name": name, "optimizer": optimizer, "policy": policy, "nan": nan, "flow": flow}


def dense_table(name: str, init: Any, optimizer: Any, policy: Any, nan: str) -> DenseTable:
    """Return the definition of a dense table; TypeError or ValueError if it cannot be one."""
    start = resolve(init, "init")
    if start.dtype != np.float32:
        raise TypeError(f"init must be float32, got {start.dtype}")
    if start.size == 0:
        raise ValueError("init has no elements")
    common = _common(name, optimizer, policy, nan, sparse=False)
    return DenseTable(**common, shape=start.shape, start=start.reshape(-1))


def sparse_table(
    name: str, init: Any, optimizer: Any, policy: Any, nan: str, dim: int | None, rules: RowRules
) -> SparseTable:
    """Return the definition of a sparse table; TypeError or ValueError if it cannot be one."""
    if not isinstance(init, Initializer):
        raise TypeError(f"init of a sparse table must be of pyccl.initializers, got {init!r}")
    if not isinstance(dim, int) or isinstance(dim, bool) or not 1 <= dim <= 8192:
        raise ValueError(f"dim must be from 1 to 8192, got {dim!r}")
    common = _common(name, optimizer, policy, nan, sparse=True)
    return SparseTable(**common, dim=dim, init=init, rules=rules, setting=rules.setting(name, dim, init))


def finite(view: NumpyArray, name: str, nan: str) -> bool:
    """Return whether a gradient is to be pushed.

    Raises
    ------
    ValueError
        If it is not finite, and the table says that this is an error.
    """
    flat = view.reshape(-1)
    if nan == "pass" or _core.all_finite(flat):
        return True
    if nan == "skip":
        return False
    place = int(np.argmin(np.isfinite(flat)))
    raise ValueError(f"the gradient of {name!r} is not finite: element {place} is {flat[place]}; nothing was pushed")
