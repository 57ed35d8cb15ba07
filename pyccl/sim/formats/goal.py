"""GOAL text: send, recv and calc of every rank, and what requires what [1]_.

.. [1] T. Hoefler, C. Siebert, A. Lumsdaine, "Group Operation Assembly Language", ICPP 2009,
   doi:10.1109/ICPP.2009.70
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pyccl.errors import ConfigError
from pyccl.sim.formats.goal_parser import Parser
from pyccl.sim.formats.source import Source
from pyccl.sim.recorder import Recorder
from pyccl.sim.trace import Columns, Kind, Trace

__all__ = ["Goal", "read", "write", "write_ranks"]


class Goal:
    """A GOAL file, read rank by rank: iterating yields (rank, Columns) in the file's order.

    What is held is one rank, whatever the file's size.

    Attributes
    ----------
    size : int
        Ranks; known when the first is yielded.
    skipped : Counter
        What was left out so far.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self.size = 0
        self.skipped: Counter[str] = Counter()

    def __iter__(self) -> Iterator[tuple[int, Columns]]:
        with Source(self.path) as source:
            parser = Parser(source, self.skipped)
            for ranked in parser.ranks():
                self.size = parser.size
                yield ranked
            self.size = parser.size


def read(path: str | Path) -> Trace:
    """Read a whole GOAL file.

    Raises
    ------
    ConfigError
        If the file is not GOAL; with the line.
    """
    goal = Goal(path)
    columns = dict(goal)
    nothing = Recorder().finish()
    told = tuple(columns.get(rank, nothing) for rank in range(goal.size))
    return Trace(told, goal.size, source=str(path), skipped=dict(goal.skipped))


def write(trace: Trace, path: str | Path) -> None:
    """Write a trace as GOAL: durations in whole nanoseconds, memory nodes as calc.

    Raises
    ------
    ConfigError
        If the trace has collectives, which GOAL has not, or the file cannot be written.
    """
    write_ranks(trace.size, ((trace.of(rank), trace.shift(rank)) for rank in range(trace.size)), path)


def write_ranks(size: int, ranks: Iterable[tuple[Columns, int]], path: str | Path) -> None:
    """Write (columns, what is added to its peers) of each rank in turn; only one is held."""
    try:
        with Path(path).open("wb") as file:
            file.write(b"num_ranks %d\n" % size)
            for rank, (columns, shift) in enumerate(ranks):
                _write_rank(file, rank, columns, shift)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error}") from error


def _write_rank(file: BinaryIO, rank: int, columns: Columns, shift: int) -> None:
    if np.any(columns.kind == Kind.COLL):
        raise ConfigError(f"rank {rank} has collectives, which GOAL has not; expand them into messages first")
    fields = (columns.kind, columns.nbytes, columns.peer, columns.tag, columns.duration, columns.lane)
    starts, deps, begun = columns.starts.tolist(), columns.deps.tolist(), columns.begun.tolist()
    out = [f"rank {rank} {{"]
    for i, (kind, nbytes, peer, tag, duration, lane) in enumerate(zip(*(f.tolist() for f in fields), strict=True)):
        cpu = f" cpu {lane}" if lane else ""
        if kind in (Kind.SEND, Kind.RECV):
            verb = "send {}b to" if kind == Kind.SEND else "recv {}b from"
            peer = peer + shift if peer >= 0 else peer
            out.append(f"l{i}: {verb.format(nbytes)} {peer} tag {tag}{cpu}")
        else:
            out.append(f"l{i}: calc {round(duration * 1e9)}{cpu}")
        out += [f"l{i} {'i' * begun[k]}requires l{deps[k]}" for k in range(starts[i], starts[i + 1])]
    file.write("\n".join(out).encode() + b"\n}\n\n")
