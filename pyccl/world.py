"""The communicator of all ranks."""

from __future__ import annotations

import weakref

from pyccl.checks import seconds
from pyccl.communicator import Communicator

__all__ = ["init"]

_world: list[weakref.ref[Communicator]] = []


def init(*, timeout: float | None = None) -> Communicator:
    """Return the communicator of all ranks that the launcher has started; the same one until it is closed.

    Parameters
    ----------
    timeout : float, optional
        Seconds that an operation waits for its peers; default: ``PYCCL_TIMEOUT``, else 300. A communicator that
        exists keeps its own.

    Raises
    ------
    ValueError
        If the communicator exists with another timeout than the one given.

    Examples
    --------
    >>> with pyccl.init() as comm:    # doctest: +SKIP
    ...     total = comm.all_reduce(np.ones(4))
    """
    existing = _world[0]() if _world else None
    if existing is not None and not existing._closed:
        if timeout is not None and seconds(timeout) != existing._timeout:
            raise ValueError(f"init() has been called already, with a timeout of {existing._timeout:g} s")
        return existing
    comm = Communicator(timeout=timeout)
    _world[:] = [weakref.ref(comm)]
    return comm
