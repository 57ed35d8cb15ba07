"""Sparse gradients that are sent once they matter."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyccl.arrays import NumpyArray, resolve
from pyccl.errors import ConfigError
from pyccl.initializers import int64_ids
from pyccl.server.parameter_server import ParameterServer
from pyccl.server.tables import SparseTable

__all__ = ["SignificantRows"]


class SignificantRows:
    """Pushes to a sparse table that keep back, on the worker, rows that have not changed enough yet.

    Gradients of an id add up until their largest element reaches `threshold`; then their sum is pushed. Nothing is
    lost: what was pushed and what is held are the sum of all that was given (the filter of significant changes of M.
    Li et al., "Scaling distributed machine learning with the parameter server", 2014; K. Hsieh et al., "Gaia", 2017).
    Rows that are rarely or barely touched then cost the wire nothing for a while; they are stale meanwhile. Each worker
    has its own.

    Parameters
    ----------
    ps : ParameterServer
    name : str
        Of a sparse table under `Async` or `SSP`: where a version waits for all workers, or is made of so many
        gradients, none may be kept back.
    threshold : float
        Not negative; 0 sends everything.

    Raises
    ------
    ConfigError
        If the threshold or the table is none of these.

    Examples
    --------
    >>> rows = pyccl.server.SignificantRows(ps, "emb", threshold=0.01)    # doctest: +SKIP
    >>> sent = rows.push(gradient, ids=batch.ids)                         # doctest: +SKIP
    >>> rows.flush()                                                      # doctest: +SKIP
    """

    def __init__(self, ps: ParameterServer, name: str, *, threshold: float) -> None:
        if not isinstance(threshold, (int, float)) or not 0 <= threshold < float("inf"):
            raise ConfigError(f"SignificantRows: threshold must be a finite number of at least 0, got {threshold!r}")
        table = ps._table(name)[1]
        if not isinstance(table, SparseTable):
            raise ConfigError(f"SignificantRows: table {name!r} is dense; of a dense table every element is sent")
        if table.flow.name not in ("immediate", "clocked"):
            raise ConfigError(f"SignificantRows: table {name!r} waits for gradients; it must be under Async or SSP")
        self._ps, self._name, self._threshold = ps, name, threshold
        self._ids: NumpyArray = np.empty(0, np.int64)
        self._rows: NumpyArray = np.empty((0, table.dim), np.float32)

    @property
    def held(self) -> int:
        """Rows that are kept back."""
        return int(self._ids.size)

    def push(self, gradient: Any, *, ids: Any) -> int:
        """Add up gradients, push the rows that now matter, and return how many these are.

        Parameters
        ----------
        gradient : array of float32, shape (n, dim)
        ids : array of int, shape (n,)

        Raises
        ------
        TypeError, ValueError
            As for `ParameterServer.push`, and for gradients that are not finite; nothing was added.
        Timeout, ServerLost
            As there. The rows that were to be pushed are held no more.
        """
        wanted, given = int64_ids(ids), resolve(gradient, "gradient")
        if given.dtype != np.float32:
            raise TypeError(f"the gradient of {self._name!r} must be float32, got {given.dtype}")
        if given.shape != (wanted.size, self._rows.shape[1]):
            expected = (wanted.size, self._rows.shape[1])
            raise ValueError(f"the gradient of {self._name!r} must have shape {expected}, got {given.shape}")
        if not np.isfinite(given).all():
            raise ValueError(f"the gradient of {self._name!r} is not finite; nothing was added")
        known, place = np.unique(np.concatenate([self._ids, wanted]), return_inverse=True)
        total = np.zeros((known.size, self._rows.shape[1]), np.float32)
        total[place[: self._ids.size]] = self._rows
        np.add.at(total, place[self._ids.size :], given)
        matters = np.abs(total).max(axis=1) >= self._threshold
        self._ids, self._rows = known[~matters], total[~matters]
        return self._send(known[matters], total[matters])

    def flush(self) -> int:
        """Push all that is kept back, before the worker finishes; return how many rows."""
        ids, rows = self._ids, self._rows
        self._ids, self._rows = ids[:0], rows[:0]
        return self._send(ids, rows)

    def _send(self, ids: NumpyArray, rows: NumpyArray) -> int:
        if ids.size > 0:
            self._ps.push(self._name, rows, ids=ids)
        return int(ids.size)
