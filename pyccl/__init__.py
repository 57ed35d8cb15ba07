"""Collective communication: schedules that are verified, simulated and run."""

from pyccl import _extension
from pyccl._version import __version__

_extension.load()

from pyccl.errors import (  # noqa: E402  (after the extension is known to fit)
    CommError,
    ConfigError,
    Error,
    MismatchError,
    PeerAborted,
    PeerLost,
    ServerLost,
    Timeout,
)

__all__ = [
    "CommError",
    "ConfigError",
    "Error",
    "MismatchError",
    "PeerAborted",
    "PeerLost",
    "ServerLost",
    "Timeout",
    "__version__",
]
