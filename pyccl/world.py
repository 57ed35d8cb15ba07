"""The communicator of all ranks."""

from __future__ import annotations

import weakref

from pyccl.checks import seconds
from pyccl.communicator import Communicator

__all__ = ["init"]

_world: list[weakref.ref[Communicator]] = []


def init(*, timeout: float | None = None, deterministic: bool | None = None) -> Communicator:
    """Return the communicator of all ranks that the launcher has started; the same one until it is closed.

    Parameters
    ----------
    timeout : float, optional
        Seconds that an operation waits for its peers; default: ``PYCCL_TIMEOUT``, else 300. A communicator that
        exists keeps its own.
    deterministic : bool, default False
        See `Communicator`.

    Raises
    ------
    ValueError
        If the communicator exists with other settings than those given.

    Examples
    --------
    >>> with pyccl.init() as comm:    # doctest: +SKIP
    ...     total = comm.all_reduce(np.ones(4))
    """
    existing = _world[0]() if _world else None
    if existing is not None and (existing._forked or not existing._closed):
        existing._check_open()
        if timeout is not None and seconds(timeout) != existing._timeout:
            raise ValueError(f"init() has been called already, with a timeout of {existing._timeout:g} s")
        if deterministic is not None and deterministic != existing.deterministic:
            raise ValueError(f"init() has been called already, with deterministic={existing.deterministic}")
        return existing
    comm = Communicator(timeout=timeout, deterministic=False if deterministic is None else deterministic)
    _world[:] = [weakref.ref(comm)]
    return comm
