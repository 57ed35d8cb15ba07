"""What asynchronous pushes and pulls return."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyccl import _core
from pyccl.checks import seconds

__all__ = ["ServerWork"]


class ServerWork:
    """A push that has been handed over. It is done when its servers and their replicas have it."""

    def __init__(self, endpoint: _core.ServerEndpoint, ticket: Sequence[int], timeout: Callable[[], float]) -> None:
        self._endpoint, self._ticket, self._timeout = endpoint, list(ticket), timeout

    def done(self) -> bool:
        """Return whether it is done, without waiting."""
        return self._endpoint.done(self._ticket)

    def wait(self, timeout: float | None = None) -> None:
        """Return when it is done.

        Parameters
        ----------
        timeout : float, optional
            Seconds; default: the parameter server's.

        Raises
        ------
        Timeout
            If it is not done then; it may still be, later.
        ServerLost
            If a server has died before and no replica has taken over.
        """
        self._endpoint.wait(self._ticket, self._timeout() if timeout is None else seconds(timeout))
