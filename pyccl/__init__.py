"""Collective communication: schedules that are verified, simulated and run."""

from pyccl import _extension
from pyccl._version import __version__

try:
    _extension.load()

    from pyccl.algorithms import register_algorithm
    from pyccl.communicator import Communicator
    from pyccl.errors import (
        CommError,
        ConcurrentWrite,
        ConfigError,
        Error,
        MismatchError,
        PeerAborted,
        PeerLost,
        ServerLost,
        Timeout,
    )
    from pyccl.ops import Op, premul_sum, user_op
    from pyccl.policy import SSP, Async, BoundedDelay, FedBuff, KAsync, SoftSync, Sync
    from pyccl.registration import Registration
    from pyccl.server import ParameterServer
    from pyccl.world import init
except ImportError:
    if not _extension.examined():  # `python -m pyccl.doctor` is there to say what is wrong
        raise

__all__ = [
    "SSP",
    "Async",
    "BoundedDelay",
    "CommError",
    "Communicator",
    "ConcurrentWrite",
    "ConfigError",
    "Error",
    "FedBuff",
    "KAsync",
    "MismatchError",
    "Op",
    "ParameterServer",
    "PeerAborted",
    "PeerLost",
    "Registration",
    "ServerLost",
    "SoftSync",
    "Sync",
    "Timeout",
    "__version__",
    "init",
    "premul_sum",
    "register_algorithm",
    "user_op",
]
