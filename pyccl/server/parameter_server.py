"""`ParameterServer`: what a rank sees of it."""

from __future__ import annotations

import atexit
import hashlib
import os
import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from pyccl import _core
from pyccl.arrays import NumpyArray, resolve
from pyccl.checks import integer, output
from pyccl.communicator import Communicator
from pyccl.errors import CommError, ConfigError, Error, Timeout
from pyccl.policy import Async, Policy
from pyccl.server.agreement import agree, exchange
from pyccl.server.flows import flow_of
from pyccl.server.placement import Placement, server_ranks
from pyccl.server.work import ServerWork

__all__ = ["ParameterServer"]

PATIENCE = 5.0  # seconds that the interpreter's end waits for the servers
_PAUSE = 0.002
_open: weakref.WeakSet[ParameterServer] = weakref.WeakSet()
_NAN = ("raise", "skip", "pass")


@dataclass(frozen=True)
class _Table:
    number: int
    shape: tuple[int, ...]
    nan: str


class ParameterServer:
    """Tables that live on servers: workers pull parameters and push gradients. Collective.

    Parameters
    ----------
    comm : Communicator
        All of one node. It is used while tables are made; pulls and pushes go past it and survive it.
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
        ranks = server_ranks(servers, comm.size)
        policy = Async() if consistency is None else consistency
        if not isinstance(policy, Policy):
            raise TypeError(f"consistency must be a policy such as pyccl.SSP(3), got {policy!r}")
        copies = integer(replicas, "replicas", 0, len(ranks))
        if len(set(comm.nodes)) > 1:
            raise ConfigError("a parameter server needs all ranks on one node")
        agree(comm, "ParameterServer", f"servers={list(ranks)}, consistency={policy!r}, replicas={copies}")
        self._comm, self._policy, self._servers, self._replicas = comm, policy, ranks, copies
        self._clients = tuple(r for r in range(comm.size) if r not in ranks) if servers != "colocated" else ranks
        self._timeout = comm._timeout
        self._tables: dict[str, _Table] = {}
        self._placement = Placement(len(ranks))
        self._closed = False
        self._endpoint = self._connect()
        comm.barrier()
        self._endpoint.start()
        _open.add(self)

    def _connect(self) -> _core.ServerEndpoint:
        comm, own = self._comm, []
        first = comm.rank == self._servers[0]
        sizes = comm.size, len(self._servers), len(self._clients), self._replicas
        requests = _core.ServerMemory.requests(*sizes) if first else None
        heap = _core.ServerMemory.heap() if comm.rank in self._servers else None
        own = [memory for memory in (requests, heap) if memory is not None]
        fds = [-1 if memory is None else memory.fd for memory in (requests, heap)]
        told = exchange(comm, np.array([os.getpid(), *fds], np.int64))
        at = [(int(told[rank, 0]), int(told[rank, 2])) for rank in self._servers]
        membership = comm._membership
        endpoint = _core.ServerEndpoint(
            rank=comm.rank,
            size=comm.size,
            servers=list(self._servers),
            clients=list(self._clients),
            replicas=self._replicas,
            pids=told[:, 0].tolist(),
            crowded=membership.crowded,
            yields=membership.yields,
            requests=(int(told[self._servers[0], 0]), int(told[self._servers[0], 1])),
            heaps=at,
            timeout=self._timeout,
        )
        comm.barrier()  # all have mapped it
        for memory in own:
            memory.close()
        return endpoint

    @property
    def servers(self) -> tuple[int, ...]:
        """The ranks that serve; shard i begins on the i-th."""
        return self._servers

    @property
    def workers(self) -> tuple[int, ...]:
        """The ranks that pull and push."""
        return self._clients

    def table(
        self,
        name: str,
        *,
        init: Any,
        optimizer: Any,
        consistency: Policy | None = None,
        nan: str = "raise",
    ) -> None:
        """Make a table. Collective: the same on every rank, servers included.

        Parameters
        ----------
        name : str
        init : array of float32
            The initial parameters, any shape; the same bits on every rank.
        optimizer : pyccl.optim.Optimizer
            What servers do with a gradient.
        consistency : Policy, optional
            Default: the parameter server's.
        nan : {"raise", "skip", "pass"}, default "raise"
            What `push` does with a gradient that is not finite: ValueError, nothing, or push it.

        Raises
        ------
        ConfigError
            On every rank, if ranks give different tables.
        """
        self._check_open()
        policy = self._policy if consistency is None else consistency
        if nan not in _NAN:
            raise ValueError(f"nan must be one of {', '.join(_NAN)}, got {nan!r}")
        start = resolve(init, "init")
        if start.dtype != np.float32:
            raise TypeError(f"init must be float32, got {start.dtype}")
        digest = hashlib.blake2b(start.tobytes(), digest_size=16).hexdigest()
        said = f"{name!r}, shape {start.shape}, values {digest}, {optimizer!r}, {policy!r}, nan={nan!r}"
        agree(self._comm, "table", said)
        if name in self._tables:
            raise ValueError(f"there is a table {name!r} already")
        flow = flow_of(policy, optimizer)
        bounds = self._placement.cut(start.size, whole=optimizer.whole)
        rule = policy.rule(len(self._clients))
        self._endpoint.add_dense(
            name=name,
            flow=flow.name,
            mean=flow.mean,
            rule=rule,
            optimizer=optimizer.core,
            bounds=bounds,
            initial=start.reshape(-1),
        )
        self._tables[name] = _Table(len(self._tables), start.shape, nan)
        self._comm.barrier()  # nobody asks before all have it

    def pull(self, name: str, *, out: Any = None) -> Any:
        """Return a table's parameters, once its rule lets this worker begin an iteration.

        Parameters
        ----------
        name : str
        out : array of float32, optional
            Where to put them; default: a new NumPy array.

        Raises
        ------
        Timeout
            If a server does not answer in time, or the rule waits for workers that do not come.
        ServerLost
            If a server has died and no replica has taken over.
        """
        table = self._find(name)
        result, view = output(np.empty(0, np.float32), out, table.shape, np.dtype(np.float32))
        self._endpoint.pull(table.number, view.reshape(-1))
        return result

    def push(self, name: str, gradient: Any) -> None:
        """Give a gradient, and return when its servers and their replicas have it.

        Parameters
        ----------
        name : str
        gradient : array of float32
            Of the table's shape.

        Raises
        ------
        ValueError
            If it is not finite, unless the table says otherwise; nothing is pushed.
        Timeout, ServerLost
            As for `pull`.
        """
        self.push_async(name, gradient).wait()

    def push_async(self, name: str, gradient: Any) -> ServerWork:
        """Give a gradient, and return when it has been handed over: the array may be used again."""
        table = self._find(name)
        view = resolve(gradient, "gradient")
        if view.dtype != np.float32:
            raise TypeError(f"gradient must be float32, got {view.dtype}")
        if view.shape != table.shape:
            raise ValueError(f"gradient of {name!r} must have shape {table.shape}, got {view.shape}")
        ticket: list[int] = []
        if table.nan == "pass" or _core.all_finite(view.reshape(-1)):
            ticket = self._endpoint.push(table.number, view.reshape(-1))
        elif table.nan == "raise":
            raise ValueError(f"gradient of {name!r} is not finite: {_first_bad(view)}")
        return ServerWork(self._endpoint, ticket, lambda: self._timeout)

    def clock(self) -> None:
        """End this worker's iteration on all tables whose rule counts clocks (SSP, BoundedDelay)."""
        self._check_open()
        self._endpoint.clock()

    def finish(self) -> None:
        """Say that this worker pushes no more: nobody waits for it, and its pulls no longer wait for others."""
        self._check_open()
        self._endpoint.leave()

    def staleness_histogram(self, name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return how many of this worker's gradients had which staleness, summed over shards.

        Returns
        -------
        ndarray of int64
            Entry s counts gradients before which s versions were made since the one that they were computed on.
        """
        counts, _, _ = self._endpoint.seen(self._find(name).number)
        return np.array(counts, np.int64)

    def stats(self) -> list[dict[str, float]]:
        """Return what every server has counted so far: requests, bytes, busy seconds, duplicates, failovers …"""
        self._check_open()
        return [
            {"rank": rank, "alive": self._endpoint.lives(rank), **self._endpoint.counters(i)}
            for i, rank in enumerate(self._servers)
        ]

    @contextmanager
    def serve(self) -> Iterator[ParameterServer]:
        """On a dedicated server: leave the block when all workers have finished."""
        self._check_open()
        yield self
        self._await_workers(float("inf"))

    def close(self) -> None:
        """Finish: nobody waits for this worker any more. Returns when all workers have. May be repeated."""
        self._end(self._timeout)

    def __enter__(self) -> ParameterServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            with suppress(Error):
                self._end(PATIENCE)

    def _end(self, patience: float) -> None:
        if self._closed:
            return
        self._closed = True
        _open.discard(self)
        try:
            if self._comm.rank in self._clients:
                try:
                    self._endpoint.leave()
                finally:
                    self._endpoint.close_client()
            self._await_workers(patience)
        finally:
            self._endpoint.stop()

    def _await_workers(self, patience: float) -> None:
        end = time.monotonic() + patience
        while not self._endpoint.finished():
            if failure := self._endpoint.failure():
                raise CommError(f"the server of rank {self._comm.rank} has failed: {failure}")
            if time.monotonic() > end:
                raise Timeout(f"close() timed out after {patience:g} s: not all workers have finished")
            time.sleep(_PAUSE)

    def _find(self, name: str) -> _Table:
        self._check_open()
        if name not in self._tables:
            known = ", ".join(map(repr, self._tables)) or "none"
            raise ValueError(f"there is no table {name!r}; there are {known}")
        return self._tables[name]

    def _check_open(self) -> None:
        if self._closed:
            raise CommError("the parameter server is closed")
        if failure := self._endpoint.failure():
            raise CommError(f"the server of rank {self._comm.rank} has failed: {failure}")

    def _orphan(self) -> None:
        self._closed = True
        self._endpoint.orphan()


def _first_bad(gradient: NumpyArray) -> str:
    place = int(np.argmin(np.isfinite(gradient.reshape(-1))))
    return f"element {place} is {gradient.reshape(-1)[place]}"


@atexit.register
def _at_exit() -> None:
    for ps in list(_open):
        with suppress(Error):
            ps._end(PATIENCE)


def _after_fork() -> None:
    for ps in list(_open):
        ps._orphan()


os.register_at_fork(after_in_child=_after_fork)
