"""The end of a process: MPI_Finalize waits for all ranks, so nobody enters it before all have come to their end.

A rank that dies after the others' last operation would hold them there for ever. So the ranks meet once more, in a
barrier that can be left: with an eye on the processes of the node, and not for long where the communicator is broken.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyccl._core import forgo_mpi_end, prepare_mpi_end

__all__ = ["broken", "expect", "forgo", "meet", "take_over", "unfinished"]

PATIENCE = 5.0  # seconds for ranks whose communicator is broken
_GRACE = 1.0  # for the barrier's last message of a process that has ended, perhaps well
_PAUSE = 0.01


class _End:
    """What is known of the end of this process."""

    mpi: Any = None
    process = 0
    timeout = 0.0  # seconds
    forgone = False
    broken = False
    unfinished = False
    peers: tuple[tuple[int, str], ...] | None = None  # pid and start of the node's other ranks; None: not all use pyccl


_end = _End()


def take_over(mpi: Any) -> None:
    """Let pyccl end MPI instead of mpi4py."""
    prepare_mpi_end(mpi.__file__)


def forgo() -> None:
    """Leave MPI_Finalize out: somebody who has died would be waited for."""
    forgo_mpi_end()
    _end.forgone = True


def broken() -> None:
    """Be less patient: a communicator has ended badly."""
    _end.broken = True


def unfinished() -> None:
    """Note that ranks have not come to a collective of MPI's own: MPI_Finalize waits for them, too.

    It is left out if an exception ends the program; who has caught it may know that they come later.
    """
    _end.unfinished = True


def expect(mpi: Any, pids: Iterable[int], timeout: float) -> None:
    """Note the processes of this node, when a communicator of all of MPI's ranks has been made.

    All of them meet then, whoever ends MPI on each: a barrier that some leave out would hold the others.
    """
    _end.mpi, _end.process, _end.timeout = mpi, os.getpid(), timeout
    _end.peers = tuple((pid, _begun(pid)) for pid in pids if pid != os.getpid())


def _begun(pid: int) -> str:
    """Return when a process began, which tells it from a later one of the same number; "" if there is none."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[19]
    return ""


def meet() -> None:
    """Wait until all ranks have come to their end, or somebody has not lived to see it: then MPI is left as it is.

    After the communicator's timeout MPI_Finalize is entered all the same: others may be in one that the program has
    called itself.
    """
    if _end.unfinished and getattr(sys, "last_value", None) is not None:
        forgo()
    if _end.mpi is None or _end.peers is None or _end.forgone or _end.process != os.getpid():
        return
    if not _end.mpi.Is_initialized() or _end.mpi.Is_finalized():
        return
    try:
        if not _all_came(_end.mpi.COMM_WORLD.Ibarrier(), _end.peers):
            forgo()
    except _end.mpi.Exception:
        forgo()
    except BaseException:
        forgo()
        raise


def _all_came(request: Any, peers: tuple[tuple[int, str], ...]) -> bool:
    handles: list[int] = []
    begun = time.monotonic()
    limit, late = (begun + PATIENCE, False) if _end.broken else (begun + _end.timeout, True)
    try:
        for pid, start in peers:
            with suppress(OSError):
                handles.append(os.pidfd_open(pid))
            if not start or _begun(pid) != start:
                limit, late = min(limit, begun + _GRACE), False
        while not request.Test():
            now = time.monotonic()
            if now > limit:
                return late
            if select.select(handles, [], [], min(_PAUSE, (now - begun) / 4))[0]:
                limit, late = min(limit, now + _GRACE), False
                time.sleep(_PAUSE)  # `select` no longer does
        return True
    finally:
        for handle in handles:
            os.close(handle)
