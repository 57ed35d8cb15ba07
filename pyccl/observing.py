"""What a communicator tells of itself: its last operations, long waits, and a trace where one is asked for."""

from __future__ import annotations

import logging
import weakref
from functools import partial

from pyccl import _core
from pyccl.config import Settings
from pyccl.flight import FlightRecord, caller, records
from pyccl.tracing import CAPACITY, TraceFile, tell_on_signal

__all__ = ["Observed", "observe"]

log = logging.getLogger("pyccl")
_SHOWN = 3


class Observed:
    """The part of a communicator that shows what it has done."""

    _core: _core.Communicator

    def flight_record(self) -> list[FlightRecord]:
        """Return the last operations of this rank, oldest first: 256 of them, or 65,536 under ``PYCCL_TRACE``.

        Any thread may call it at any time, while operations run and after one has failed. The other ranks do not
        notice.

        Examples
        --------
        >>> _ = comm.all_reduce(np.ones(4, "f4"))
        >>> last = comm.flight_record()[-1]
        >>> last.kind, last.dtype, last.nbytes, last.state
        ('all_reduce', 'float32', 16, 'done')
        """
        return records(self._core.flight())


def observe(core: _core.Communicator, settings: Settings, identity: str, rank: int, size: int) -> list[TraceFile]:
    """Let `core` report long waits and failures; return the traces that are to be closed with it."""
    trace = None
    if settings.trace is not None:
        core.flight_reset(CAPACITY)
        trace = TraceFile(settings.trace, core, identity, rank, size)
    tell_on_signal(core, rank, trace)
    known = settings.trace is not None or settings.debug
    stalled, failed = partial(_stalled, rank), partial(_failed, rank, weakref.ref(core), trace)
    core.observe(settings.stall, known, settings.debug, caller, stalled, failed)
    return [] if trace is None else [trace]


def _stalled(rank: int, text: str) -> None:
    log.warning("rank %d: %s", rank, text)


def _failed(rank: int, core: weakref.ref[_core.Communicator], trace: TraceFile | None, text: str) -> None:
    if trace is not None:
        trace.write(text)
    existing = core()
    if existing is not None and log.isEnabledFor(logging.INFO):
        last = "; ".join(str(record) for record in records(existing.flight()[-_SHOWN:]))
        log.info("rank %d: %s (last operations: %s)", rank, text, last)
