"""How gradients flow under a policy."""

from __future__ import annotations

from dataclasses import dataclass

from pyccl.errors import ConfigError
from pyccl.optim import Optimizer
from pyccl.policy import SSP, Async, BoundedDelay, FedBuff, KAsync, Policy, SoftSync, Sync

__all__ = ["Flow", "flow_of"]


@dataclass(frozen=True)
class Flow:
    """The core's name for it, whether a version is a mean, and whether all elements must have the same versions.

    Where who has given a gradient waits for others' and only some are needed, shards that chose apart could leave each
    worker waiting for one that waits elsewhere.
    """

    name: str
    mean: bool = False
    together: bool = False


def flow_of(policy: Policy, optimizer: object, *, sparse: bool = False) -> Flow:
    """Return how a table's gradients flow.

    Raises
    ------
    TypeError
        If the optimiser is none of pyccl.optim's.
    ConfigError
        If it cannot work that way.
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be one of pyccl.optim, got {optimizer!r}")
    whole = optimizer.whole and not sparse  # of a sparse table a layer is a row
    match policy:
        case SSP() | BoundedDelay():
            if whole:
                raise ConfigError(f"{optimizer!r} looks at whole gradients, which {policy!r} applies piece by piece")
            return Flow("clocked")
        case Sync(backup=0) if not whole and not sparse:
            return Flow("averaged", mean=True)
        case Sync() | KAsync():
            return Flow("buffered", mean=True, together=not sparse or policy != Sync())
        case Async() if not whole:
            return Flow("immediate")
        case Async() | SoftSync() | FedBuff():
            return Flow("buffered")
    raise ConfigError(f"a parameter server cannot follow {policy!r}")
