"""Collective communication: schedules that are verified, simulated and run."""

from pyccl import _extension
from pyccl._version import __version__

_extension.load()

from pyccl.algorithms import register_algorithm  # noqa: E402
from pyccl.communicator import Communicator  # noqa: E402
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
from pyccl.ops import Op, premul_sum, user_op  # noqa: E402
from pyccl.registration import Registration  # noqa: E402
from pyccl.world import init  # noqa: E402

__all__ = [
    "CommError",
    "Communicator",
    "ConfigError",
    "Error",
    "MismatchError",
    "Op",
    "PeerAborted",
    "PeerLost",
    "Registration",
    "ServerLost",
    "Timeout",
    "__version__",
    "init",
    "premul_sum",
    "register_algorithm",
    "user_op",
]
