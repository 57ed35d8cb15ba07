"""`--model`: all_reduce of a real model's gradients, tensor by tensor and fused in buckets of several sizes."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from .buffers import Buffers, needed, require
from .cases import Case
from .data import dtype_of
from .models import buckets, gradients
from .progress import Meter
from .report import Row, make_row
from .runner import Contender, Result, no_garbage_collection, worst
from .stats import summarise
from .sweep import contender, rival
from .table import format_speedup
from .units import format_rate, format_size, format_us

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .interface import World

MIB = 1 << 20
BUCKETS = (25 * MIB, 1 * MIB, 4 * MIB, 64 * MIB)
LEAST_PASSES, MOST_PASSES = 3, 20
CLASSES = (4 << 10, 64 << 10, 1 * MIB, 16 * MIB, 1 << 62)
"""Upper bounds of the tensor sizes that are added up in the second table."""


@dataclass(frozen=True)
class Passes:
    """Seconds (maximum over the ranks) of every pass (row) and call (column), and the wrong elements of all ranks."""

    times: NDArray[np.float64]
    wrong: int

    def result(self) -> Result:
        """Return what whole passes took: the sum over their calls."""
        return Result(summarise(self.times.sum(axis=1)), self.wrong)


@dataclass(frozen=True)
class Settings:
    """What of the command line a model run needs; `template` carries dtype, op, algorithm and kind of array."""

    model: str
    template: Case
    budget: float
    passes: int | None = None
    timeout: float | None = None
    plan: bool = False


def run_model(world: World, settings: Settings) -> list[Row]:
    """Time one step's gradients of a model and print the tables; one row per granularity, the same on every rank."""
    tensors = gradients(settings.model)
    counts = [tensor.elements for tensor in tensors]
    itemsize = dtype_of(settings.template.dtype).itemsize
    total = sum(counts) * itemsize
    partitions: dict[int | None, list[int]] = {None: counts[::-1]}
    partitions |= {size: buckets(counts, size // itemsize) for size in BUCKETS}
    largest = max(max(part) for part in partitions.values()) * itemsize
    registered = settings.template.registered
    require(world, needed(largest, registered=registered, output=False))
    memory = Buffers(world, largest, registered=registered, output=False)
    world.say(_head(settings, len(counts), total, largest))
    rows, classes = [], ""
    with Meter(len(partitions), shown=world.rank == 0) as meter:
        for size, part in partitions.items():
            meter.begin(_name(size))
            measured = _time(world, settings, part, memory, settings.budget / len(partitions))
            ours, theirs = measured[0].result(), measured[1].result() if len(measured) > 1 else None
            case = _case(settings.template, max(part))
            rows.append(
                make_row(
                    world, case, ours, theirs, nbytes=total, model=settings.model, bucket_bytes=size, calls=len(part)
                )
            )
            world.say(_line(rows[-1], max(part) * itemsize))
            classes = classes or _classes(measured, [count * itemsize for count in part])
            meter.advance()
    world.say(classes)
    return rows


def _case(template: Case, count: int) -> Case:
    t = template
    return Case("all_reduce", t.dtype, t.op, count, t.size, t.algorithm, t.registered, in_place=True)


def _time(world: World, settings: Settings, part: Sequence[int], memory: Buffers, budget: float) -> list[Passes]:
    """Run whole passes, pyccl and MPI alternating call by call."""
    sides = {count: _sides(world, settings, _case(settings.template, count), memory) for count in set(part)}
    width = len(sides[part[0]])
    with no_garbage_collection():
        start = perf_counter()
        _one_pass(world, sides, part, width, whole=True)
        cost = perf_counter() - start
        affordable = int(min(max(budget / cost, LEAST_PASSES), MOST_PASSES))
        count = world.agree([settings.passes or affordable])[0]
        passes = [_one_pass(world, sides, part, width) for _ in range(count)]
    times = worst(world, np.stack(passes, axis=1))
    mine = [sum(side[k].wrong for side in sides.values()) for k in range(width)]
    wrong = world.mpi.allreduce(np.array(mine, np.int64))
    return [Passes(times[k], int(wrong[k])) for k in range(width)]


def _sides(world: World, settings: Settings, case: Case, memory: Buffers) -> list[Contender]:
    ours = contender(world, case, memory, settings.timeout, plan=settings.plan)
    theirs = rival(world, case, memory)
    return [ours] if theirs is None else [ours, theirs]


def _one_pass(
    world: World, sides: dict[int, list[Contender]], part: Sequence[int], width: int, *, whole: bool = False
) -> NDArray[np.float64]:
    times = np.empty((width, len(part)))
    barrier = world.comm.barrier
    for column, count in enumerate(part):
        for row, side in enumerate(sides[count]):
            times[row, column] = side.step(barrier, whole=whole)
    return times


def _name(size: int | None) -> str:
    return "tensor by tensor" if size is None else f"buckets of {format_size(size)}"


_COLUMNS = "{:<22} {:>6} {:>10} {:>11} {:>11} {:>8} {:>8} {:>7} {:>12} {:>9}"


def _head(settings: Settings, tensors: int, total: int, largest: int) -> str:
    t = settings.template
    heads = _COLUMNS.format(
        "# gradients", "calls", "largest", "time (us)", "p99 (us)", "algbw", "busbw", "#wrong", "MPI (us)", "speed-up"
    )
    return (
        f"# {settings.model}: {tensors} gradient tensors, {total // dtype_of(t.dtype).itemsize:,} parameters, "
        f"{format_size(total)} as {t.dtype}; all_reduce {t.op}, in place\n"
        f"# one buffer of {format_size(largest)} a rank is used again for every call; time = one whole step's calls\n"
        f"{heads}"
    )


def _line(row: Row, largest: int) -> str:
    theirs = "–" if row.baseline_s is None else format_us(row.baseline_s)
    speedup = "–" if row.speedup is None else format_speedup(row.speedup)
    name = _name(row.bucket_bytes) + (" *" if row.bucket_bytes == BUCKETS[0] else "")
    return _COLUMNS.format(
        name, row.calls, format_size(largest), format_us(row.time_s), format_us(row.p99_s), format_rate(row.algbw),
        format_rate(row.busbw), row.wrong, theirs, speedup,
    )  # fmt: skip


def _classes(measured: Sequence[Passes], sizes: Sequence[int]) -> str:
    """Return the second table: where a step that is not fused spends its time."""
    lines = ["#", "# * the default of common frameworks. Tensor by tensor, by size of the tensor:"]
    medians = [np.median(passes.times, axis=0) for passes in measured]
    array, low = np.array(sizes), 0
    for high in CLASSES:
        chosen = (array > low) & (array <= high)
        bound = f"up to {format_size(high)}" if high < 1 << 60 else f"above {format_size(low)}"
        low = high
        if not chosen.any():
            continue
        ours, *theirs = (float(median[chosen].sum()) for median in medians)
        against = f"{format_us(theirs[0])} us, {format_speedup(theirs[0] / ours)}" if theirs else "–"
        nbytes = format_size(int(array[chosen].sum()))
        tensors = f"{int(chosen.sum()):>4} tensors, {nbytes:>10}"
        lines.append(f"#   {bound:<15} {tensors}: {format_us(ours):>9} us; MPI {against}")
    return "\n".join(lines)
