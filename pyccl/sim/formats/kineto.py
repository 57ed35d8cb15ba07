"""Traces of the PyTorch profiler (Kineto): kernels and collectives of each stream, or of each thread without a GPU."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pyccl.errors import ConfigError
from pyccl.sim.formats.group_table import GroupTable
from pyccl.sim.formats.json_stream import members
from pyccl.sim.formats.kineto_events import GPU, LAUNCH, Event, Work, classify, timing
from pyccl.sim.formats.kineto_order import Placed, order
from pyccl.sim.formats.rank_files import rank_files
from pyccl.sim.formats.source import Source
from pyccl.sim.trace import MAX_RANKS, Columns, Kind, Trace

__all__ = ["read"]

MAX_EVENTS = 1 << 22
NAME = r"(?:\.|[._-]?rank[_-]?)(\d{1,7})(?:\.pt\.trace)?\.json(?:\.gz)?"


def read(
    path: str | Path | Sequence[str | Path], *, ranks: int | None = None,
    groups: Mapping[str, Sequence[int]] | None = None,
) -> Trace:  # fmt: skip
    """Read profiler traces of one or more ranks.

    Dependencies are inferred: work waits for what stood before it on its stream; a collective for what its process had
    launched before it on other streams; other work for a collective that ended while its own stream was idle. The
    idle time that is left is the host's, and becomes a node of its own, so that a replay in which everything takes as
    long as it did ends when the trace did.

    Parameters
    ----------
    path : str, Path or sequence of them
        One file, one of a set named ``…rank0.json``, ``…rank1.json`` or ``….0.json``, a folder with one such set, or
        the files in the order of their ranks. gzip is understood.
    ranks : int, optional
        Ranks of the job, if the files tell of fewer; default: the files' ``world_size``, else the number of files.
    groups : mapping of str to ranks, optional
        Members of process groups; default: what the trace lists.

    Raises
    ------
    ConfigError
        If a file is no such trace or is damaged; with the event.
    """
    paths = (
        [Path(p) for p in path] if isinstance(path, Sequence) and not isinstance(path, str) else rank_files(path, NAME)
    )
    if not paths:
        raise ConfigError("expected at least one trace")
    table, skipped = GroupTable(groups), Counter[str]()
    files = [_File(one, rank, table, skipped) for rank, one in enumerate(paths)]
    columns = tuple(file.columns for file in files)
    size = ranks if ranks is not None else max([len(paths), *(file.world for file in files)])
    name = str(paths[0] if len(paths) == 1 else paths[0].parent)
    trace = Trace(columns, size, source=name, skipped=dict(skipped))
    wrong = [f"{one}: names rank {int(c.peer.max())} of {size}" for one, c in zip(paths, columns, strict=True)
             if len(c) and c.peer.max() >= size]  # fmt: skip
    if wrong:
        raise ConfigError(f"{wrong[0]}; pass ranks=")
    return Trace(columns, size, table.groups(len(paths), size, name), name, trace.skipped)


class _Found(NamedTuple):
    event: Event
    work: Work
    name: str
    correlation: int


class _File:
    """What one rank's file holds."""

    def __init__(self, path: Path, rank: int, groups: GroupTable, skipped: Counter[str]) -> None:
        self.rank = rank
        self.skipped = skipped
        self.gpu: list[_Found] = []
        self.cpu: list[_Found] = []
        self.params: list[_Found] = []
        self.launches: dict[int, float] = {}
        others: dict[str, Any] = {}
        with Source(path) as source:
            for index, event in members(source, "traceEvents", others):
                if not isinstance(event, dict):
                    raise source.error(f"event {index} is no object")
                try:
                    self._take(event)
                except ValueError as error:
                    raise source.error(f"event {index} ({str(event.get('name'))[:60]!r}): {error}") from None
                if len(self.gpu) + len(self.cpu) + len(self.launches) > MAX_EVENTS:
                    raise source.error(f"has more than {MAX_EVENTS} events of work; profile fewer steps")
            self.world = self._world(others.get("distributedInfo"), source)
            self.columns = self._columns(groups)
            if not len(self.columns):
                raise source.error("has no kernels, collectives or operators; profile with activities=[CPU, CUDA]")

    def _world(self, info: Any, source: Source) -> int:
        world = info.get("world_size", 0) if isinstance(info, dict) else 0
        if not isinstance(world, int) or not 0 <= world <= MAX_RANKS:
            raise source.error(f"distributedInfo: world_size must be from 1 to {MAX_RANKS}, got {str(world)[:40]}")
        return int(world)

    def _take(self, raw: dict[str, Any]) -> None:
        args = raw.get("args")
        args = args if isinstance(args, dict) else {}
        event = timing(raw, args)
        if event is None:
            return
        category, name = str(raw.get("cat", "")).lower(), str(raw.get("name", ""))[:200]
        correlation = args.get("correlation", -1)
        number = correlation if isinstance(correlation, int) else -1
        if category in GPU:
            self.gpu.append(_Found(event, classify(name, args), name, number))
        elif category in LAUNCH:
            self.launches[number] = event.start
        elif "record_param_comms" in name:
            self.params.append(_Found(event, classify(name, args), name, number))
        elif category in ("cpu_op", "user_annotation") and not name.startswith("ProfilerStep"):
            collective = name.startswith(("gloo:", "mpi:"))
            if collective or category == "cpu_op":
                self.cpu.append(_Found(event, classify(name, args) if collective else Work(Kind.COMP), name, number))

    def _columns(self, groups: GroupTable) -> Columns:
        found = self.gpu or _outermost(self._with_sizes())
        placed = []
        for event, work, name, correlation in found:
            if work.kind != Kind.COMP and work.nbytes is None:
                self.skipped["collective or message whose bytes the trace does not say, kept as its time"] += 1
                work = Work(Kind.COMP)
            elif work.kind in (Kind.SEND, Kind.RECV) and work.peer == self.rank:
                self.skipped["message to the rank itself, kept as its time"] += 1
                work = Work(Kind.COMP)
            group = -1
            if work.kind == Kind.COLL:
                label, listed = work.group
                group = groups.number(label, self.rank, listed) if label or listed else 0
            placed.append(Placed(event, work, group, name, self.launches.get(correlation)))
        return order(placed, self.skipped)

    def _with_sizes(self) -> list[_Found]:
        """Return the events of a CPU, collectives with the sizes that c10d recorded when they were called."""
        calls: dict[str | None, deque[Work]] = {}
        for call in sorted(self.params, key=lambda f: f.event.start):
            calls.setdefault(call.work.collective, deque()).append(call.work)
        out = []
        for found in sorted(self.cpu, key=lambda f: f.event.start):
            recorded = calls.get(found.work.collective)
            if found.work.kind == Kind.COLL and recorded:
                work = recorded.popleft()
                found = found._replace(work=work) if work.nbytes is not None else found
            out.append(found)
        return out


def _outermost(events: list[_Found]) -> list[_Found]:
    """Return the events that are in no other of their thread."""
    ends: dict[tuple[str, str], float] = {}
    out = []
    for found in sorted(events, key=lambda f: (f.event.start, -f.event.duration)):
        place, start = found.event.place, found.event.start
        if start >= ends.get(place, -1e30):
            ends[place] = start + found.event.duration
            out.append(found)
    return out
