"""How a rank's part of a parameter server begins and ends."""

from __future__ import annotations

import atexit
import os
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import TypeVar

import numpy as np

from pyccl import _core
from pyccl.communicator import Communicator
from pyccl.errors import CommError, Error, Timeout
from pyccl.server.agreement import exchange

__all__ = ["Lifetime", "connect"]

T = TypeVar("T", bound="Lifetime")
PATIENCE = 5.0  # seconds that the interpreter's end waits for the servers
_PAUSE = 0.002
_open: weakref.WeakSet[Lifetime] = weakref.WeakSet()


def connect(
    comm: Communicator, servers: Sequence[int], clients: Sequence[int], replicas: int, timeout: float
) -> _core.ServerEndpoint:
    """Map the memory that all share. Collective."""
    first = comm.rank == servers[0]
    requests = _core.ServerMemory.requests(comm.size, len(servers), len(clients), replicas) if first else None
    heap = _core.ServerMemory.heap() if comm.rank in servers else None
    fds = [-1 if memory is None else memory.fd for memory in (requests, heap)]
    told = exchange(comm, np.array([os.getpid(), *fds], np.int64)).tolist()
    membership = comm._membership
    endpoint = _core.ServerEndpoint(
        rank=comm.rank,
        size=comm.size,
        servers=servers,
        clients=clients,
        replicas=replicas,
        pids=[pid for pid, _, _ in told],
        crowded=membership.crowded,
        spin=membership.spin,
        yields=membership.yields,
        requests=(told[servers[0]][0], told[servers[0]][1]),
        heaps=[(told[rank][0], told[rank][2]) for rank in servers],
        timeout=timeout,
    )
    comm.barrier()  # all have mapped it
    for memory in (requests, heap):
        if memory is not None:
            memory.close()
    return endpoint


class Lifetime:
    """What a parameter server does when it ends."""

    _endpoint: _core.ServerEndpoint
    _rank: int
    _works = False  # whether this rank is a worker
    _timeout: float
    _closed = False
    _forked = False

    def _begin(self) -> None:
        self._endpoint.start()
        _open.add(self)

    def close(self) -> None:
        """Finish, and return when all workers have. May be repeated; later calls raise CommError.

        Raises
        ------
        Timeout
            If workers go on for longer than the parameter server's timeout; this rank's part is closed all the same.
        """
        self._end(self._timeout)

    def __enter__(self: T) -> T:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; after an exception without waiting for long."""
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
            if self._works:
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
            self._check_service()
            if time.monotonic() > end:
                raise Timeout(f"close() timed out after {patience:g} s: not all workers have finished")
            time.sleep(_PAUSE)

    def _check_service(self) -> None:
        if failure := self._endpoint.failure():
            raise CommError(f"the server of rank {self._rank} has failed: {failure}")

    def _check_open(self) -> None:
        if self._forked:
            raise CommError("the parameter server is used after fork: it belongs to the parent process")
        if self._closed:
            raise CommError("the parameter server is closed")
        self._check_service()


@atexit.register
def _at_exit() -> None:
    for ps in list(_open):
        with suppress(Error):
            ps._end(PATIENCE)


def _after_fork() -> None:
    for ps in list(_open):
        ps._closed = ps._forked = True
        ps._endpoint.orphan()


os.register_at_fork(after_in_child=_after_fork)
