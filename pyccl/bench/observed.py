"""Part of `--calibrate`: pyccl's own collectives on 2, 4, 8, … ranks, which a simulator is fitted to and scored on."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, cast

from .buffers import Buffers, needed, require
from .cases import CHUNKED, REDUCING, Case, round_count
from .runner import race
from .sweep import contender

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mpi4py import MPI

    from .interface import World

KINDS = ("all_reduce", "reduce_scatter", "all_gather", "broadcast", "all_to_all")
SIZES = tuple(64 << k for k in range(18))
"""64 B to 8 MiB: 4^k, which a model may be fitted to, and 2·4^k between them, which it may not."""
ROUNDS = 3
"""At least so many."""
PER_RACE = 0.01
"""Seconds for one collective and size in one round, at most."""


class Observed(NamedTuple):
    """Seconds of one collective, median and 99th percentile of the round whose median was least.

    What others do on the machine only adds, and ranks that poll suffer by orders of magnitude.
    """

    collective: str
    ranks: int
    nbytes: int
    median: float
    p99: float


def observe(world: World, largest: int, budget: float, meet: Callable[[MPI.Intracomm], None]) -> list[Observed]:
    """Time collectives of up to `largest` bytes on the first 2, 4, 8, … ranks, all on one node, for `budget` seconds.

    Rounds go over all groups and sizes, so that a disturbance hits few of a case's. Collective; the rows are
    returned on rank 0, elsewhere an empty list. The ranks that are left out wait in `meet`.
    """
    groups = [1 << k for k in range(1, world.size.bit_length()) if 1 << k <= world.size]
    sizes = [n for n in SIZES if n <= largest]
    if world.nodes > 1 or not sizes:
        return []
    require(world, needed(sizes[-1], registered=False))
    seconds = min(PER_RACE, budget / (ROUNDS * len(groups) * len(KINDS) * len(sizes)))
    found: dict[tuple[str, int, int], list[tuple[float, float]]] = {}
    with ExitStack() as stack:
        parts: list[tuple[int, World]] = []
        for ranks in groups:
            part = cast("MPI.Intracomm", world.mpi.Split(int(world.rank >= ranks), world.rank))
            stack.callback(part.Free)
            if world.rank < ranks:
                parts.append((ranks, world.part(part)))
                stack.enter_context(parts[-1][1].comm)
            meet(world.mpi)
        buffers = Buffers(world, sizes[-1], registered=False)
        deadline = perf_counter() + budget
        for number in count(1):
            for ranks in groups:
                for group in (w for size, w in parts if size == ranks):
                    _round(group, sizes, buffers, seconds, found)
                meet(world.mpi)
            if world.agree([number >= ROUNDS and perf_counter() > deadline])[0]:
                break
    if world.rank:
        return []
    return [Observed(*key, *min(times)) for key, times in found.items()]


def _round(
    group: World, sizes: Sequence[int], buffers: Buffers, seconds: float,
    found: dict[tuple[str, int, int], list[tuple[float, float]]],
) -> None:  # fmt: skip
    for kind in KINDS:
        for nbytes in sizes:
            case = Case(kind, "float32", "sum" if kind in REDUCING else "none",
                        round_count(kind, nbytes, 4, group.size), group.size)  # fmt: skip
            if kind in CHUNKED and case.nbytes != nbytes:
                continue
            (result,) = race(group, [contender(group, case, buffers, None)], seconds)
            if result.wrong:
                raise RuntimeError(f"{kind} of {nbytes} B returned wrong elements: nothing to calibrate with")
            times = found.setdefault((kind, group.size, nbytes), [])
            times.append((result.sample.median, result.sample.p99))
