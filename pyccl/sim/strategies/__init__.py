"""Strategies by name: `parse("ssp:3")`, `parse("ring(bucket='25 MiB')")`."""

from pyccl.sim.strategies.registry import parse, strategies, text

__all__ = ["parse", "strategies", "text"]
