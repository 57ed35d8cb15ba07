"""`--tune`: times every algorithm of every collective and writes which to take up to how many bytes.

The file is what `pyccl.tuning` reads. It has a table for each situation (private arrays, registered ones, several
nodes); a run measures one of them and leaves the others in the file as they are.
"""

from __future__ import annotations

import json
import platform
from typing import TYPE_CHECKING, Any

from .buffers import Buffers, needed, require
from .cases import Case
from .progress import Meter
from .report import cpu_model
from .runner import race
from .sweep import contender
from .units import format_size, format_us

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .interface import World

VERSION = 1
STICKY = 0.97
"""A different algorithm must be this much faster than the smaller size's winner to replace it."""

Times = dict[int, dict[str, float]]
Thresholds = list[tuple[int | None, str]]


def tune(
    world: World, cases: Sequence[Case], budget: float, iterations: int | None, timeout: float | None
) -> dict[str, Any]:
    """Time all algorithms of every (automatic) case against each other; return the table of this situation."""
    largest = max(case.nbytes for case in cases)
    registered = cases[0].registered
    require(world, needed(largest, registered=registered))
    buffers = Buffers(world, largest, registered=registered)
    measured: dict[str, Times] = {}
    with Meter(len(cases), shown=world.rank == 0) as meter:
        for case in cases:
            meter.begin(f"{case.collective} {format_size(case.nbytes)}")
            times = compare(world, case, buffers, budget / len(cases), iterations, timeout)
            if times:
                measured.setdefault(case.collective, {})[case.nbytes] = times
                world.say(_line(case, times))
            meter.advance()
    situation = "several_nodes" if world.nodes > 1 else "registered" if registered else "thresholds"
    machine = f"{cpu_model()}, {platform.machine()}, {world.size} ranks on {world.nodes} node(s)"
    return {"version": VERSION, "machine": machine, situation: {kind: choose(t) for kind, t in measured.items()}}


def compare(
    world: World, case: Case, buffers: Buffers, budget: float, iterations: int | None, timeout: float | None
) -> dict[str, float]:
    """Return the median seconds of every algorithm that can run `case`; one that returns wrong results is left out."""
    names, sides = [], []
    for name in world.library.algorithms(case.collective, world.size):
        named = Case(case.collective, case.dtype, case.op, case.count, case.size, name, case.registered, case.in_place)
        try:
            side = contender(world, named, buffers, timeout)
            side.step(world.comm.barrier, whole=True)
        except ValueError:  # not for this number of ranks or nodes: the same on every rank, before anything moves
            continue
        names.append(name)
        sides.append(side)
    if not sides:
        return {}
    results = race(world, sides, budget, iterations, warm_ups=1)
    return {name: result.sample.median for name, result in zip(names, results, strict=True) if not result.wrong}


def choose(times: Times) -> Thresholds:
    """Return `[(max_bytes, algorithm), ...]`, a border being the geometric mean of two sizes; None is without end.

    Examples
    --------
    >>> choose({8: {"a": 1.0, "b": 2.0}, 512: {"a": 3.0, "b": 2.0}})
    [(64, 'a'), (None, 'b')]
    """
    table: Thresholds = []
    current, last = "", 0
    for nbytes in sorted(times):
        at = times[nbytes]
        best = min(at, key=at.__getitem__)
        if current and best != current and at[best] < STICKY * at.get(current, float("inf")):
            table.append((round((last * nbytes) ** 0.5), current))
            current = best
        current, last = current or best, nbytes
    return [*table, (None, current)]


def write_table(path: Path, table: dict[str, Any]) -> None:
    """Write the table as JSON; what a table already in `path` says of other situations stays."""
    try:
        before = json.loads(path.read_text())
    except (OSError, ValueError):
        before = {}
    if not isinstance(before, dict) or before.get("version") != VERSION:
        before = {}
    path.write_text(json.dumps({**before, **table}, indent=1) + "\n")


def _line(case: Case, times: dict[str, float]) -> str:
    order = sorted(times, key=times.__getitem__)
    listed = ", ".join(f"{name} {format_us(times[name])}" for name in order)
    return f"{case.collective:<15} {case.nbytes:>10} B  {listed} us"
