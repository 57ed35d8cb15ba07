"""Bytes that a device needs, and has."""

from __future__ import annotations

import math

from pyccl.sim.cluster import Cluster
from pyccl.sim.devices import DEVICES
from pyccl.sim.model import Model


def state_bytes(model: Model, stage: int = 0, shards: int = 1) -> float:
    """Return the bytes of parameters, gradients and optimiser state of a device under ZeRO stage 0 to 3 [1]_.

    Stage 1 spreads the optimiser's state over `shards` devices, 2 the gradients too, 3 the parameters too.

    References
    ----------
    .. [1] S. Rajbhandari et al., "ZeRO: memory optimizations toward training trillion parameter models", SC 2020,
       doi:10.1109/SC41405.2020.00024

    Examples
    --------
    >>> from pyccl.sim.model import Layer
    >>> model = Model("7.5B", [Layer("all", 0, 0, 15_000_000_000)], itemsize=2, state=12)
    >>> [round(state_bytes(model, stage, 64) / 1e9, 1) for stage in range(4)]
    [120.0, 31.4, 16.6, 1.9]
    """
    weights, state = float(model.nbytes), float(model.parameters * model.state)
    return (
        weights / (shards if stage >= 3 else 1)
        + weights / (shards if stage >= 2 else 1)
        + state / (shards if stage >= 1 else 1)
    )


def replica_bytes(model: Model) -> float:
    """Return the bytes of a device that holds everything but embeddings, and one micro-batch's activations."""
    return state_bytes(model) + model.stored


def device_bytes(cluster: Cluster, model: Model) -> float:
    """Return the bytes of the smallest device: what the cluster says, else the model's device; infinite if neither."""
    known = DEVICES[model.device].memory if model.device else math.inf
    return min(node.memory or known for node in cluster.nodes)
