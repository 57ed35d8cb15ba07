"""How a rank's part of a parameter server begins and ends."""

from __future__ import annotations

import atexit
import os
import time
import weakref
from contextlib import suppress
from types import TracebackType
from typing import TypeVar

from pyccl import _core
from pyccl.bootstrap import Bootstrap
from pyccl.errors import CommError, Error, Timeout

__all__ = ["Lifetime"]

T = TypeVar("T", bound="Lifetime")
PATIENCE = 5.0  # seconds that the interpreter's end waits for the servers
_PAUSE = 0.002
_open: weakref.WeakSet[Lifetime] = weakref.WeakSet()


class Lifetime:
    """What a parameter server does when it ends."""

    _endpoint: _core.ServerEndpoint
    _apart: Bootstrap | None
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
            if self._endpoint.stop(min(patience, PATIENCE)) and self._apart is not None:
                self._apart.close()  # else a message that nobody took could meet the next user of MPI's number

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
