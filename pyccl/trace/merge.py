"""Who waited for whom: the logs of all ranks side by side, on one clock."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from pyccl.collectives import COLLECTIVES
from pyccl.flight import FlightRecord
from pyccl.trace.format import Log

__all__ = ["Group", "Merged", "Unfinished", "Wait", "merge"]

SYNCHRONISING = ("barrier", "all_reduce", "all_gather", "reduce_scatter", "all_to_all")


@dataclass(frozen=True)
class Group:
    """A communicator: the logs of those ranks that left one, by rank."""

    name: str
    size: int
    logs: Mapping[int, Log]

    @property
    def missing(self) -> list[int]:
        """Ranks without a log."""
        return [rank for rank in range(self.size) if rank not in self.logs]

    @property
    def head(self) -> Log:
        """The log of the lowest rank."""
        return self.logs[min(self.logs)]


@dataclass(frozen=True)
class Wait:
    """One operation that somebody waited in.

    Attributes
    ----------
    group : str
    sequence : int
    kind : str
    nbytes : int
    last : int
        The rank that came last, so that the others waited for it.
    place : str
        Where it called.
    arrivals : mapping of int to float
        When each rank came, in seconds of the first host's monotonic clock; one that never came is put where the last
        of the others gave up.
    """

    group: str
    sequence: int
    kind: str
    nbytes: int
    last: int
    place: str
    arrivals: Mapping[int, float]

    @property
    def caused(self) -> float:
        """Seconds that all others waited together."""
        return sum(self.arrivals[self.last] - arrival for arrival in self.arrivals.values())

    @property
    def longest(self) -> float:
        """Seconds that the first one to come waited."""
        return self.arrivals[self.last] - min(self.arrivals.values())


@dataclass(frozen=True)
class Unfinished:
    """An operation that did not end well on some ranks, or did not begin on some."""

    group: str
    sequence: int
    text: str
    waiting: tuple[int, ...]
    failed: tuple[int, ...]
    absent: tuple[int, ...]


@dataclass(frozen=True)
class Merged:
    """All communicators of a run.

    Attributes
    ----------
    groups : tuple of Group
    offsets : mapping of str to float
        Per host (its boot id): what to add to its monotonic clock to get the first host's, in seconds.
    errors : mapping of str to float
        How far the operations that determine an offset disagree about it, in seconds; 0 on the first host.
    waits : tuple of Wait
        The costliest first.
    unfinished : tuple of Unfinished
    """

    groups: tuple[Group, ...]
    offsets: Mapping[str, float]
    errors: Mapping[str, float]
    waits: tuple[Wait, ...]
    unfinished: tuple[Unfinished, ...]

    def on_one_clock(self, log: Log, seconds: float) -> float:
        """Return a time of `log` on the first host's clock."""
        return seconds + self.offsets[log.header.boot]


def merge(logs: Sequence[Log]) -> Merged:
    """Put the logs of a run side by side."""
    found: dict[str, dict[int, Log]] = defaultdict(dict)
    for log in logs:
        found[log.header.communicator][log.header.rank] = log
    groups = tuple(Group(name, max(log.header.size for log in ranks.values()), ranks) for name, ranks in found.items())
    offsets, errors = _align(groups)
    waits = [
        wait for group in groups for wait in chain(_collective_waits(group, offsets), _message_waits(group, offsets))
    ]
    return Merged(
        groups=groups,
        offsets=offsets,
        errors=errors,
        waits=tuple(sorted(waits, key=lambda wait: -wait.caused)),
        unfinished=tuple(row for group in groups for row in _unfinished(group)),
    )


def _collectives(log: Log) -> Iterator[FlightRecord]:
    return (r for r in log.operations if r.kind in (*COLLECTIVES, "empty", "split", "refused") and r.sequence > 0)


def _align(groups: Sequence[Group]) -> tuple[dict[str, float], dict[str, float]]:
    """Compare when hosts left the same operation: nobody leaves a barrier before all have come."""
    hosts = list(dict.fromkeys(log.header.boot for group in groups for log in group.logs.values()))
    gaps: dict[str, list[float]] = {host: [] for host in hosts}
    for group in groups:
        ends: dict[int, dict[str, float]] = defaultdict(dict)
        for log in group.logs.values():
            for r in _collectives(log):
                if r.kind in SYNCHRONISING and r.state == "done" and r.end is not None:
                    per_host = ends[r.sequence]
                    per_host[log.header.boot] = max(r.end, per_host.get(log.header.boot, r.end))
        for per_host in ends.values():
            if hosts[0] in per_host:
                for host, end in per_host.items():
                    gaps[host].append(per_host[hosts[0]] - end)
    walls = {log.header.boot: log.header.wall for group in groups for log in group.logs.values()}
    offsets, errors = {}, {}
    for host in hosts:
        near = gaps[host] or [walls[host] - walls[hosts[0]]]
        offsets[host] = statistics.median(near)
        errors[host] = max(abs(gap - offsets[host]) for gap in near) if gaps[host] else float("inf")
    offsets[hosts[0]], errors[hosts[0]] = 0.0, 0.0
    return offsets, errors


def _wait(group: Group, offsets: Mapping[str, float], records: Mapping[int, FlightRecord]) -> Wait | None:
    arrivals = {
        rank: record.start + offsets[group.logs[rank].header.boot]
        for rank, record in records.items()
        if record.start is not None
    }
    if len(arrivals) < 2:
        return None
    last = max(arrivals, key=lambda rank: arrivals[rank])
    r = records[last]
    return Wait(group.name, r.sequence, r.kind, r.nbytes, last, r.place, arrivals)


def _collective_waits(group: Group, offsets: Mapping[str, float]) -> Iterator[Wait]:
    calls: dict[int, dict[int, FlightRecord]] = defaultdict(dict)
    for rank, log in group.logs.items():
        for record in _collectives(log):
            calls[record.sequence][rank] = record
    reached = _reached(group)
    for sequence, records in calls.items():
        absent = _absent(reached, sequence, records)
        if wait := _endless(group, offsets, records, absent) if absent else _wait(group, offsets, records):
            yield wait


def _endless(
    group: Group, offsets: Mapping[str, float], records: Mapping[int, FlightRecord], absent: Sequence[int]
) -> Wait | None:
    """Return the wait for ranks that never came."""
    came, gave_up = {}, []
    for rank, record in records.items():
        header = group.logs[rank].header
        if record.start is not None:
            came[rank] = record.start + offsets[header.boot]
            gave_up.append((header.written if record.end is None else record.end) + offsets[header.boot])
    if not came:
        return None
    r = next(iter(records.values()))
    arrivals = {**came, **dict.fromkeys(absent, max(*gave_up, *came.values()))}
    return Wait(group.name, r.sequence, r.kind, r.nbytes, absent[0], "it never came", arrivals)


def _message_waits(group: Group, offsets: Mapping[str, float]) -> Iterator[Wait]:
    ends: dict[tuple[int, int, int], dict[int, FlightRecord]] = defaultdict(dict)
    for rank, log in group.logs.items():
        for r in log.operations:
            if r.kind in ("send", "recv") and r.sequence > 0:
                pair = (rank, r.peer) if r.kind == "send" else (r.peer, rank)
                ends[pair[0], pair[1], r.sequence][rank] = r
    for records in ends.values():
        if wait := _wait(group, offsets, records):
            yield wait


def _unfinished(group: Group) -> Iterator[Unfinished]:
    calls: dict[int, dict[int, FlightRecord]] = defaultdict(dict)
    for rank, log in group.logs.items():
        for r in _collectives(log):
            calls[r.sequence][rank] = r
        for r in log.operations:
            if r.kind in ("send", "recv") and r.state != "done":
                yield _row(group, r, {rank: r}, ())
    reached = _reached(group)
    for sequence, records in sorted(calls.items()):
        if not _is_done(records):
            yield _row(group, next(iter(records.values())), records, _absent(reached, sequence, records))


def _reached(group: Group) -> dict[int, int]:
    """Return how far each rank is known to have come: a killed one leaves a file without operations."""
    return {rank: max((r.sequence for r in _collectives(log)), default=0) for rank, log in sorted(group.logs.items())}


def _is_done(records: Mapping[int, FlightRecord]) -> bool:
    return all(r.state == "done" or r.kind == "refused" for r in records.values())


def _absent(reached: Mapping[int, int], sequence: int, records: Mapping[int, FlightRecord]) -> tuple[int, ...]:
    """Return who never came; nobody did not come to an operation that others have finished, as all meet in it."""
    return () if _is_done(records) else tuple(rank for rank, last in reached.items() if last < sequence)


def _row(group: Group, one: FlightRecord, records: Mapping[int, FlightRecord], absent: tuple[int, ...]) -> Unfinished:
    waiting = tuple(sorted(rank for rank, r in records.items() if r.state in ("queued", "running")))
    failed = tuple(sorted(rank for rank, r in records.items() if r.state == "failed"))
    return Unfinished(group.name, one.sequence, str(one).removesuffix(f" {one.state}"), waiting, failed, absent)
