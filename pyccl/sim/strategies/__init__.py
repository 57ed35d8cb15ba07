"""Strategies by name: `parse("ssp:3")`, `parse("ring(bucket='25 MiB')")`."""

from pyccl.sim.strategies import federated, server
from pyccl.sim.strategies.registry import parse, strategies

__all__ = ["federated", "parse", "server", "strategies"]
