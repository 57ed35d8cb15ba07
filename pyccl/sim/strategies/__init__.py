"""Strategies by name: `parse("ssp:3")`, `parse("ring(bucket='25 MiB')")`."""

from pyccl.sim.strategies import embedding, federated, local, pipeline, server, sharded, synchronous, tensor
from pyccl.sim.strategies.registry import parse, strategies, text

__all__ = [
    "embedding", "federated", "local", "parse", "pipeline", "server", "sharded", "strategies", "synchronous",
    "tensor", "text",
]  # fmt: skip
