"""How the public methods of a communicator are called: see `_core.Method`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from pyccl import _core
from pyccl.collectives import COLLECTIVES

__all__ = ["announced", "collective"]

F = TypeVar("F", bound=Callable[..., Any])


def announced(method: F) -> F:
    """Make the peers hear of a call that Python cannot bind to the method's parameters, like a misspelt keyword."""
    return cast(F, _core.Method(method))


def collective(method: F) -> F:
    """Do so, and run calls of plain NumPy arrays without entering the method, whose name is the collective's."""
    return cast(F, _core.Method(method, COLLECTIVES[method.__name__].code))
