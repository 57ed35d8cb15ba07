"""Strategies by name: `parse("ssp:3")`, `parse("ring(bucket='25 MiB')")`."""

from pyccl.sim.strategies import embedding, local, pipeline, sharded, synchronous, tensor
from pyccl.sim.strategies.registry import parse, strategies

__all__ = ["embedding", "local", "parse", "pipeline", "sharded", "strategies", "synchronous", "tensor"]
