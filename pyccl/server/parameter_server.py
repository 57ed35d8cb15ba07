"""`ParameterServer`: what a rank sees of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from pyccl.arrays import NumpyArray, resolve
from pyccl.checks import integer, output
from pyccl.communicator import Communicator
from pyccl.errors import ConfigError
from pyccl.initializers import int64_ids
from pyccl.policy import Async, Policy
from pyccl.server.agreement import agree
from pyccl.server.connecting import connect
from pyccl.server.holdings import Holdings
from pyccl.server.placement import Placement, check_room, server_ranks, spread
from pyccl.server.tables import (
    Compensation,
    DenseTable,
    RowRules,
    SparseTable,
    dense_table,
    finite,
    infinite_from,
    sparse_table,
)
from pyccl.server.work import ServerWork

__all__ = ["ParameterServer"]


class ParameterServer(Holdings):
    """Tables that live on servers: workers pull parameters and push gradients. Collective.

    Parameters
    ----------
    comm : Communicator
        It is used while tables are made; pulls and pushes go past it and survive it.
    servers : "colocated", int or iterable of int, default "colocated"
        A shard on every rank; that many dedicated servers, the last ranks; or these ranks.
    consistency : Policy, default Async()
        Who may go on, and what becomes of a gradient: `pyccl.Sync`, `pyccl.Async`, `pyccl.SSP`,
        `pyccl.BoundedDelay`, `pyccl.KAsync`, `pyccl.SoftSync` or `pyccl.FedBuff`. A table may have its own.
    replicas : int, default 0
        Copies of every shard on other servers. A push is acknowledged when all have it; as many servers may die.

    Raises
    ------
    ConfigError
        If the arguments are bad or differ between ranks.

    Examples
    --------
    >>> ps = pyccl.ParameterServer(comm, consistency=pyccl.SSP(3))    # doctest: +SKIP
    >>> ps.table("w", init=w0, optimizer=pyccl.optim.SGD(0.1))        # doctest: +SKIP
    >>> for batch in data:                                            # doctest: +SKIP
    ...     w = ps.pull("w", out=w)
    ...     ps.push("w", gradient(w, batch))
    ...     ps.clock()
    """

    def __init__(
        self,
        comm: Communicator,
        *,
        servers: str | int | Iterable[int] = "colocated",
        consistency: Policy | None = None,
        replicas: int = 0,
    ) -> None:
        self._policy = Async() if consistency is None else consistency
        if not isinstance(self._policy, Policy):
            raise TypeError(f"consistency must be a policy such as pyccl.SSP(3), got {consistency!r}")
        self._servers = spread(server_ranks(servers, comm.size), comm.nodes)
        copies = integer(replicas, "replicas", 0, 1 << 16)
        if copies >= len(self._servers):
            raise ConfigError(f"{copies} replicas and their owner need {copies + 1} servers, got {len(self._servers)}")
        agree(comm, "ParameterServer", f"servers={self._servers}, consistency={self._policy!r}, replicas={copies}")
        everywhere = len(self._servers) == comm.size
        self._workers = tuple(r for r in range(comm.size) if everywhere or r not in self._servers)
        check_room(len(self._servers), len(self._workers), copies)
        self._comm, self._rank, self._timeout = comm, comm.rank, comm._timeout
        self._works = comm.rank in self._workers
        self._tables: dict[str, DenseTable | SparseTable] = {}
        self._numbers: dict[str, int] = {}
        self._bounds: dict[str, list[int]] = {}
        self._placement = Placement(len(self._servers))
        self._endpoint, self._apart = connect(comm, self._servers, self._workers, copies, self._timeout)
        self._begin()

    @property
    def servers(self) -> tuple[int, ...]:
        """The ranks that serve; shard i begins on the i-th."""
        return self._servers

    @property
    def workers(self) -> tuple[int, ...]:
        """The ranks that pull and push."""
        return self._workers

    def table(
        self,
        name: str,
        *,
        init: Any,
        optimizer: Any,
        sparse: bool = False,
        dim: int | None = None,
        rules: RowRules | None = None,
        consistency: Policy | None = None,
        compensation: Compensation | None = None,
        wire: str = "float32",
        accumulate: str = "float32",
        nan: str = "raise",
    ) -> None:
        """Make a table. Collective: the same on every rank, servers included.

        Parameters
        ----------
        name : str
        init : array of float32, or pyccl.initializers.Initializer
            A dense table's parameters, any shape, the same bits on every rank; or how a sparse table's rows begin.
        optimizer : pyccl.optim.Optimizer
            What servers do with a gradient.
        sparse : bool, default False
            Rows of `dim` numbers by id, which need not be known before.
        dim : int, optional
            From 1 to 8192.
        rules : RowRules, optional
            Which ids get a row, and which rows go; default: all do, none goes.
        consistency : Policy, optional
            Default: the parameter server's.
        compensation : Compensation, optional
            Delay compensation of a dense table's gradients.
        wire : {"float32", "float16", "bfloat16", "int8"}, default "float32"
            How gradients travel; parameters are float32 always. int8 has a scale for every 64 values.
        accumulate : {"float32", "float64"}, default "float32"
            How gradients of a dense table are added up where a version is made of several.
        nan : {"raise", "skip", "pass"}, default "raise"
            What `push` does with a gradient that is not finite: ValueError, nothing, or push it.

        Raises
        ------
        ConfigError
            On every rank, if ranks give different tables; nothing is made.
        """
        self._check_open()
        policy = self._policy if consistency is None else consistency
        options: dict[str, Any] = {"nan": nan, "wire": wire, "accumulate": accumulate, "compensation": compensation}
        made: DenseTable | SparseTable
        if sparse:
            made = sparse_table(name, init, optimizer, policy, dim=dim, rules=rules or RowRules(), **options)
        else:
            if dim is not None or rules is not None:
                raise TypeError("dim and rules are for tables with sparse=True")
            made = dense_table(name, init, optimizer, policy, **options)
        agree(self._comm, "table", made.said())
        if name in self._tables:
            raise ValueError(f"there is a table {name!r} already")
        core = made.core(len(self._workers))
        if isinstance(made, SparseTable):
            self._endpoint.add_sparse(core, made.setting, self._placement.home() if made.flow.together else -1)
        else:
            whole = made.optimizer.whole or made.flow.together
            self._bounds[name] = self._placement.cut(made.start.size, whole=whole)
            self._endpoint.add_dense(core, self._bounds[name], made.start)
        self._numbers[name] = len(self._tables)
        self._tables[name] = made
        self._comm.barrier()  # nobody asks before all have it

    def pull(self, name: str, *, ids: Any = None, out: Any = None) -> Any:
        """Return a table's parameters, or rows of it, once its rule lets this worker begin an iteration.

        Parameters
        ----------
        name : str
        ids : array of int, shape (n,)
            Of a sparse table; duplicates are fine. An id without a row gives what its row would begin with.
        out : array of float32, optional
            Where to put them; default: a new NumPy array.

        Returns
        -------
        array of float32, of the table's shape, or (n, dim)

        Raises
        ------
        Timeout
            If a server does not answer in time, or the rule waits for workers that do not come.
        ServerLost
            If a server has died and no replica has taken over.
        """
        number, table = self._find(name, ids)
        if isinstance(table, SparseTable):
            wanted = int64_ids(ids)
            result, view = output(np.empty(0, np.float32), out, (wanted.size, table.dim), np.dtype(np.float32))
            self._endpoint.pull_rows(number, wanted, view.reshape(wanted.size, table.dim))
        else:
            result, view = output(np.empty(0, np.float32), out, table.shape, np.dtype(np.float32))
            self._endpoint.pull(number, view.reshape(-1))
        return result

    def push(self, name: str, gradient: Any, *, ids: Any = None) -> None:
        """Give a gradient, and return when its servers and their replicas have it.

        Parameters
        ----------
        name : str
        gradient : array of float32
            Of the table's shape; or (n, dim), rows of the ids. Rows of the same id are summed.
        ids : array of int, shape (n,)
            Of a sparse table.

        Raises
        ------
        ValueError
            If it is not finite, or too large for its wire, unless the table says otherwise; nothing is pushed.
        Timeout, ServerLost
            As for `pull`.
        """
        self.push_async(name, gradient, ids=ids).wait()

    def push_async(self, name: str, gradient: Any, *, ids: Any = None) -> ServerWork:
        """Give a gradient, and return when it has been handed over: the array may be used again."""
        number, table = self._find(name, ids)
        view = resolve(gradient, "gradient")
        rows = None if not isinstance(table, SparseTable) else int64_ids(ids)
        _check_gradient(view, name, table.shape if rows is None else (rows.size, table.dim))  # type: ignore[union-attr]
        ticket: list[int] = []
        if finite(view, table):
            if rows is None:
                ticket = self._endpoint.push(number, view.reshape(-1))
            else:
                ticket = self._push_rows(number, table, rows, view)  # type: ignore[arg-type]
        return ServerWork(self._endpoint, ticket, self._timeout)

    def _push_rows(self, number: int, table: SparseTable, ids: NumpyArray, rows: NumpyArray) -> list[int]:
        """Rows may be good one by one, and their sums not."""
        limit = 0.0 if table.nan == "pass" else infinite_from(table.wire)
        ticket = self._endpoint.push_rows(number, ids, rows, limit)
        if ticket is None and table.nan == "raise":
            raise ValueError(
                f"the gradient of {table.name!r} has rows of the same id whose sum is not finite as {table.wire}; "
                "nothing was pushed"
            )
        return ticket or []

    def push_pull(self, name: str, gradient: Any, *, out: Any = None) -> Any:
        """Give a gradient of a dense table, and return its parameters once its rule lets this worker begin again.

        The same as `push_async` and `pull`, but parts are read while others are on their way; the quickest iteration of
        data parallelism. Parameters, results and errors are theirs.
        """
        number, table = self._find(name, None)
        view = resolve(gradient, "gradient")
        _check_gradient(view, name, table.shape)  # type: ignore[union-attr]
        result, into = output(np.empty(0, np.float32), out, table.shape, np.dtype(np.float32))  # type: ignore[union-attr]
        if np.may_share_memory(view, into):
            view = view.copy()
        if finite(view, table):
            self._endpoint.push_pull(number, view.reshape(-1), into.reshape(-1))
        else:
            self._endpoint.pull(number, into.reshape(-1))
        return result

    def clock(self) -> None:
        """End this worker's iteration on all tables whose rule counts clocks (SSP, BoundedDelay)."""
        self._check_open()
        self._endpoint.clock()

    def finish(self) -> None:
        """Say that this worker pushes no more: nobody waits for it, and its pulls no longer wait for others."""
        self._check_open()
        self._endpoint.leave()

    @contextmanager
    def serve(self) -> Iterator[ParameterServer]:
        """On a dedicated server: the block is left when all workers have closed, or are gone. Elsewhere: at once."""
        self._check_open()
        yield self
        if not self._works:
            self._await_workers(float("inf"))

    def _find(self, name: str, ids: Any) -> tuple[int, DenseTable | SparseTable]:
        number, table = self._table(name)
        if isinstance(table, SparseTable) != (ids is not None):
            raise TypeError(f"table {name!r} is {'sparse: give ids' if ids is None else 'dense: it has no ids'}")
        return number, table


def _check_gradient(view: NumpyArray, name: str, shape: tuple[int, ...]) -> None:
    if view.dtype != np.float32:
        raise TypeError(f"the gradient of {name!r} must be float32, got {view.dtype}")
    if view.shape != shape:
        raise ValueError(f"the gradient of {name!r} must have shape {shape}, got {view.shape}")
