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

__all__ = [
    "Compensation",
    "DenseTable",
    "RowRules",
    "SparseTable",
    "dense_table",
    "finite",
    "infinite_from",
    "sparse_table",
]

NAN = ("raise", "skip", "pass")
WIRES = ("float32", "float16", "bfloat16", "int8")
_INFINITE_FROM = {"float16": 65520.0, "bfloat16": 2.0**128 - 2.0**119}  # csrc/kernels/codecs.h
SUMS = ("float32", "float64")
_EVICT = ("lru", "lfu")


@dataclass(frozen=True)
class Compensation:
    """Delay compensation of asynchronous gradients (DC-ASGD; S. Zheng et al., "Asynchronous stochastic gradient descent
    with delay compensation", 2017, https://doi.org/10.48550/arXiv.1609.08326).

    g + lam * g * g * (w - w_read) takes the place of g, w_read being the parameters when the worker pulled them; a
    server keeps them for every worker.

    Parameters
    ----------
    lam : float, default 0.04
        Not negative.
    adaptive : bool, default False
        Divide `lam` by the root of a running mean of g * g (DC-ASGD-a; then a usual `lam` is 2).
    decay : float, default 0.95
        Of that mean, from 0 to below 1.
    eps : float, default 1e-7

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    lam: float = 0.04
    adaptive: bool = False
    decay: float = 0.95
    eps: float = 1e-7

    def __post_init__(self) -> None:
        if not (0 <= self.lam < float("inf") and 0 <= self.decay < 1 and 0 < self.eps < float("inf")):
            raise ConfigError(f"{self!r}: lam must not be negative, decay from 0 to below 1, eps positive")


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
    wire: str
    accumulate: str
    flow: Flow
    compensation: Compensation | None

    def _rest(self) -> str:
        return (
            f"{self.optimizer!r}, {self.policy!r}, nan={self.nan}, wire={self.wire}, "
            f"accumulate={self.accumulate}, {self.compensation!r}"
        )

    def core(self, workers: int) -> _core.ServerTable:
        """Return what a server makes it of."""
        c = self.compensation or Compensation(lam=0.0)
        return _core.ServerTable(
            name=self.name,
            flow=self.flow.name,
            mean=self.flow.mean,
            wide=self.accumulate == "float64",
            wire=self.wire,
            optimizer=self.optimizer.core,
            rule=self.policy.rule(workers),
            compensation=c.lam,
            adaptive=c.adaptive,
            decay=c.decay,
            epsilon=c.eps,
        )


@dataclass(frozen=True)
class DenseTable(_Common):
    """A table of one array."""

    shape: tuple[int, ...]
    start: NumpyArray

    def said(self) -> str:
        """Return all that ranks must agree on."""
        digest = hashlib.blake2b(self.start.data, digest_size=16).hexdigest()
        return f"{self.name!r}, shape {self.shape}, values {digest}, {self._rest()}"


@dataclass(frozen=True)
class SparseTable(_Common):
    """A table of rows by id."""

    dim: int
    init: Initializer
    rules: RowRules
    setting: _core.SparseSetting

    def said(self) -> str:
        """Return all that ranks must agree on."""
        return f"{self.name!r}, dim {self.dim}, {self.init!r}, {self.rules!r}, {self._rest()}"


def _common(
    name: str,
    optimizer: Any,
    policy: Any,
    nan: str,
    wire: str,
    accumulate: str,
    compensation: Compensation | None,
    *,
    sparse: bool,
) -> dict[str, Any]:
    if not isinstance(name, str) or not name:
        raise TypeError(f"the name of a table must be a text, got {name!r}")
    if not isinstance(policy, Policy):
        raise TypeError(f"consistency must be a policy such as pyccl.SSP(3), got {policy!r}")
    if nan not in NAN:
        raise ValueError(f"nan must be one of {', '.join(NAN)}, got {nan!r}")
    if wire not in WIRES:
        raise ValueError(f"wire must be one of {', '.join(WIRES)}, got {wire!r}")
    if accumulate not in SUMS:
        raise ValueError(f"accumulate must be one of {', '.join(SUMS)}, got {accumulate!r}")
    flow = flow_of(policy, optimizer, sparse=sparse)
    if accumulate == "float64" and (sparse or flow.name not in ("averaged", "buffered")):
        raise ConfigError("accumulate='float64' is for dense tables under Sync, KAsync, SoftSync or FedBuff")
    if compensation is not None and (sparse or flow.name not in ("immediate", "clocked")):
        raise ConfigError("compensation is for dense tables whose gradients are applied one by one, as they come")
    return {
        "name": name,
        "optimizer": optimizer,
        "policy": policy,
        "nan": nan,
        "wire": wire,
        "accumulate": accumulate,
        "flow": flow,
        "compensation": compensation,
    }


def dense_table(name: str, init: Any, optimizer: Any, policy: Any, **options: Any) -> DenseTable:
    """Return the definition of a dense table; TypeError or ValueError if it cannot be one."""
    start = resolve(init, "init")
    if start.dtype != np.float32:
        raise TypeError(f"init must be float32, got {start.dtype}")
    if start.size == 0:
        raise ValueError("init has no elements")
    common = _common(name, optimizer, policy, **options, sparse=False)
    return DenseTable(**common, shape=start.shape, start=start.reshape(-1))


def sparse_table(
    name: str, init: Any, optimizer: Any, policy: Any, *, dim: int | None, rules: RowRules, **options: Any
) -> SparseTable:
    """Return the definition of a sparse table; TypeError or ValueError if it cannot be one."""
    if not isinstance(init, Initializer):
        raise TypeError(f"init of a sparse table must be of pyccl.initializers, got {init!r}")
    if not isinstance(dim, int) or isinstance(dim, bool) or not 1 <= dim <= 8192:
        raise ValueError(f"dim must be from 1 to 8192, got {dim!r}")
    common = _common(name, optimizer, policy, **options, sparse=True)
    return SparseTable(**common, dim=dim, init=init, rules=rules, setting=rules.setting(name, dim, init))


def infinite_from(wire: str) -> float:
    """Return the least magnitude that is infinite on that wire."""
    return _INFINITE_FROM.get(wire, float("inf"))


def finite(view: NumpyArray, table: DenseTable | SparseTable) -> bool:
    """Return whether a gradient is to be pushed.

    Raises
    ------
    ValueError
        If it is not finite, or would not be on its wire, and the table says that this is an error.
    """
    flat, limit = view.reshape(-1), infinite_from(table.wire)
    if table.nan == "pass" or flat.size == 0:
        return True
    good = _core.all_finite(flat)
    if good and (limit == float("inf") or max(flat.max(), -flat.min()) < limit):
        return True
    if table.nan == "skip":
        return False
    place = int(np.abs(flat).argmax()) if good else int(np.argmin(np.isfinite(flat)))
    wire = f" as {table.wire}" if good else ""
    raise ValueError(
        f"the gradient of {table.name!r} is not finite{wire}: element {place} is {flat[place]}; nothing was pushed"
    )
