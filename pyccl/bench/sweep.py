"""The default run: every case against the launcher's MPI, printed as it is measured."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from . import table
from .baseline import make_baseline
from .buffers import Buffers, needed, require
from .cases import expectation
from .data import dtype_of
from .ours import make_call
from .progress import Meter
from .report import Row, make_row
from .runner import Contender, race
from .units import format_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .cases import Case
    from .interface import World

TWICE = 4 << 20
"""Bytes up to which a case is warmed up twice."""
PER_CASE = 1.0
"""Seconds that a small case may take at most when there is budget left."""


def weight(case: Case) -> float:
    """Return how much of the time budget a case deserves: few iterations of a large one take long."""
    return 1.0 + case.nbytes / (16 << 20)


def sweep(
    world: World,
    cases: Sequence[Case],
    *,
    library: str,
    budget: float,
    iterations: int | None = None,
    timeout: float | None = None,
    plan: bool = False,
) -> list[Row]:
    """Time every case within about `budget` seconds in all and print the table; the same rows on every rank."""
    largest = max(case.nbytes for case in cases)
    registered = any(case.registered for case in cases)
    require(world, needed(largest, registered=registered))
    buffers = Buffers(world, largest, registered=registered)
    world.say(table.head(library))
    deadline = perf_counter() + budget
    ahead = sum(weight(case) for case in cases)
    rows = []
    with Meter(len(cases), shown=world.rank == 0) as meter:
        for case in cases:
            meter.begin(f"{case.collective} {format_size(case.nbytes)}")
            left = max(deadline - perf_counter(), 0.0)
            seconds = weight(case) * min(PER_CASE, left / ahead)
            ahead -= weight(case)
            rows.append(measure(world, case, buffers, seconds, iterations, timeout, plan=plan))
            world.say(table.line(rows[-1]))
            meter.advance()
    return rows


def contender(world: World, case: Case, buffers: Buffers, timeout: float | None, *, plan: bool = False) -> Contender:
    """Return pyccl's side of `case`."""
    dtype = dtype_of(case.dtype)
    given, taken = case.counts(world.rank)
    x = buffers.take(0, given, dtype, registered=case.registered)
    out = x if case.shares_buffer else buffers.take(1, taken, dtype, registered=case.registered)
    call = make_call(world, case, x, out, timeout, plan=plan)
    return Contender(call, x, out, expectation(case, world.rank))


def rival(world: World, case: Case, buffers: Buffers) -> Contender | None:
    """Return MPI's side of `case`, on private arrays, or None where MPI has no equivalent."""
    dtype = dtype_of(case.dtype)
    given, taken = case.counts(world.rank)
    x = buffers.take(0, given, dtype)
    out = x if case.shares_buffer else buffers.take(1, taken, dtype)
    call = make_baseline(world.mpi, case, x, out)
    return None if call is None else Contender(call, x, out, expectation(case, world.rank))


def measure(
    world: World,
    case: Case,
    buffers: Buffers,
    budget: float,
    iterations: int | None = None,
    timeout: float | None = None,
    *,
    plan: bool = False,
) -> Row:
    """Time one case against MPI; the same row on every rank."""
    sides = [contender(world, case, buffers, timeout, plan=plan)]
    other = rival(world, case, buffers)
    if other is not None:
        sides.append(other)
    results = race(world, sides, budget, iterations, warm_ups=2 if case.nbytes <= TWICE else 1)
    return make_row(world, case, results[0], results[1] if other is not None else None)
