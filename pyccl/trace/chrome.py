"""The merged logs in Chrome's trace format, which ui.perfetto.dev and chrome://tracing show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyccl.flight import FlightRecord
from pyccl.trace.format import Log
from pyccl.trace.merge import Merged

__all__ = ["chrome_trace"]

_MICRO = 1e6


def chrome_trace(merged: Merged) -> dict[str, Any]:
    """Return the trace: a process per rank, a row per communicator, in each operation the wait for its last rank.

    Times are in microseconds from the first operation of all.
    """
    times = [
        merged.on_one_clock(log, r.queued) for log in _logs(merged) for r in log.operations if r.queued is not None
    ]
    origin = min(times, default=0.0)
    events = [*_names(merged), *(event for log in _logs(merged) for event in _operations(merged, log, origin))]
    events += _waits(merged, origin)
    return {"displayTimeUnit": "ms", "traceEvents": events}


def _logs(merged: Merged) -> Iterator[Log]:
    for group in merged.groups:
        yield from group.logs.values()


def _processes(merged: Merged) -> dict[tuple[str, int], tuple[int, int]]:
    """Return for every process its rank and size in the largest communicator that it is in."""
    found: dict[tuple[str, int], tuple[int, int]] = {}
    for log in _logs(merged):
        h = log.header
        key = (h.boot, h.pid)
        if key not in found or h.size > found[key][1]:
            found[key] = (h.rank, h.size)
    return found


def _row(merged: Merged, log: Log) -> dict[str, int]:
    names = [group.name for group in merged.groups]
    h = log.header
    # ranks that are threads of one process, as in tests, get rows of their own
    return {"pid": _processes(merged)[h.boot, h.pid][0], "tid": names.index(h.communicator) * 100_000 + h.rank}


def _names(merged: Merged) -> Iterator[dict[str, Any]]:
    for log in _logs(merged):
        h, row = log.header, _row(merged, log)
        process = {"name": f"rank {row['pid']}: process {h.pid} on {h.host}"}
        thread = {"name": f"communicator {h.communicator[:8]}, rank {h.rank} of {h.size}"}
        yield {"ph": "M", "name": "process_name", "args": process, **row}
        yield {"ph": "M", "name": "process_sort_index", "args": {"sort_index": row["pid"]}, **row}
        yield {"ph": "M", "name": "thread_name", "args": thread, **row}


def _operations(merged: Merged, log: Log, origin: float) -> Iterator[dict[str, Any]]:
    row = _row(merged, log)
    for r in log.operations:
        if r.start is None:
            continue
        start = merged.on_one_clock(log, r.start) - origin
        end = merged.on_one_clock(log, log.header.written if r.end is None else r.end) - origin
        name = r.kind if r.state == "done" else f"{r.kind} ({r.state})"
        yield {
            "ph": "X", "name": name, "cat": "operation", "ts": start * _MICRO, "dur": (end - start) * _MICRO,
            "args": _details(r), **row,
        }  # fmt: skip


def _details(r: FlightRecord) -> dict[str, Any]:
    shown = {
        "sequence": r.sequence, "op": r.op, "dtype": r.dtype, "count": r.count, "bytes": r.nbytes,
        "algorithm": r.algorithm, "state": r.state, "called at": r.place,
    }  # fmt: skip
    if r.queued is not None and r.start is not None and r.start > r.queued:
        shown["queued for (us)"] = (r.start - r.queued) * _MICRO
    if r.peer >= 0:
        shown["peer"] = r.peer
    return {name: value for name, value in shown.items() if value != ""}


def _waits(merged: Merged, origin: float) -> Iterator[dict[str, Any]]:
    rows = {(group.name, rank): _row(merged, log) for group in merged.groups for rank, log in group.logs.items()}
    for wait in merged.waits:
        until = wait.arrivals[wait.last]
        for rank, arrival in wait.arrivals.items():
            if until > arrival:
                yield {
                    "ph": "X", "name": f"wait for rank {wait.last}", "cat": "wait",
                    "ts": (arrival - origin) * _MICRO, "dur": (until - arrival) * _MICRO,
                    **rows[wait.group, rank],
                }  # fmt: skip
