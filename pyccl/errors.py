"""The error tree. Bad arguments are TypeError or ValueError; everything else that pyccl raises is an `Error`."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "CommError",
    "ConcurrentWrite",
    "ConfigError",
    "Error",
    "MismatchError",
    "PeerAborted",
    "PeerLost",
    "ServerLost",
    "Timeout",
]


class Error(Exception):
    """Base of every error of pyccl's own."""


class ConfigError(Error, ValueError):
    """A setting, an environment variable or a user's file has a value that pyccl cannot use."""


class CommError(Error):
    """A communication failed."""


class ConcurrentWrite(CommError):
    """Under ``PYCCL_DEBUG=1``: somebody wrote an array while an asynchronous operation used it."""


class MismatchError(CommError):
    """The ranks called different operations, or the same one with arguments that do not fit.

    Raised on every rank at that operation, before any payload has moved. The message shows both sides.
    """


class PeerLost(CommError):
    """A peer's process is gone; the communicator must not be used again.

    Attributes
    ----------
    rank : int
        The lost peer's rank in the communicator.
    """

    def __init__(self, rank: int, message: str | None = None) -> None:
        super().__init__(message or f"rank {rank} is gone")
        self.rank = rank

    def __reduce__(self) -> tuple[type[PeerLost], tuple[int, str]]:
        return type(self), (self.rank, str(self))


class PeerAborted(CommError):
    """A peer gave up: this operation only, or the whole communicator.

    A peer whose arguments were bad refuses the operation: nothing has moved and the communicator is intact. One that
    was interrupted, called ``comm.abort`` or left ``with comm:`` by an exception has broken the communicator for all.

    Attributes
    ----------
    rank : int
        That peer's rank in the communicator.
    reason : str
        What it raised, or said.
    broken : bool
        Whether the communicator must not be used again.
    """

    def __init__(self, rank: int, reason: str, message: str | None = None, broken: bool = False) -> None:
        did = "aborted the communicator" if broken else "refused the operation"
        super().__init__(message or f"rank {rank} {did}: {reason}")
        self.rank = rank
        self.reason = reason
        self.broken = broken

    def __reduce__(self) -> tuple[type[PeerAborted], tuple[int, str, str, bool]]:
        return type(self), (self.rank, self.reason, str(self), self.broken)


class Timeout(CommError, TimeoutError):
    """A deadline has passed.

    Attributes
    ----------
    missing : tuple of int
        The ranks that had not arrived.
    """

    def __init__(self, message: str, missing: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.missing = tuple(missing)

    def __reduce__(self) -> tuple[type[Timeout], tuple[str, tuple[int, ...]]]:
        return type(self), (str(self), self.missing)


class ServerLost(CommError):
    """A parameter server is gone and no replica took over."""
