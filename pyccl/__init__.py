"""Collective communication: schedules that are verified, simulated and run."""

from pyccl import _extension
from pyccl._version import __version__

_extension.load()

__all__ = ["__version__"]
