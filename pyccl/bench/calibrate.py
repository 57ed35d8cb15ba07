"""`--calibrate`: alpha, beta and gamma of each transport, fitted to the times of messages and reductions.

A message is a direct broadcast over two ranks, from one to the other; the rest of the ranks sleep, so that the
constants are those of one link. gamma is what reducing adds: a direct `reduce` over the same two ranks moves the
same bytes, and the median of the differences per byte is taken over the sizes that are not latency alone.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from .baseline import library
from .buffers import Buffers, needed, require
from .cases import Case
from .report import describe
from .runner import race
from .stats import Line, fit_line
from .sweep import contender, rival

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import tomlkit
    from mpi4py import MPI

    from .interface import World
    from .observed import Observed

PER_POINT = 0.25
"""Seconds for one collective and size, at most."""
PASSES = 4
"""Times over all sizes, of which the least median counts: what others do on the machine only adds."""


@dataclass(frozen=True)
class Transport:
    """The cost model of one transport: time(n) = alpha + beta * n, plus gamma * n where n bytes are reduced."""

    name: str
    line: Line
    gamma: float
    points: tuple[tuple[int, float], ...]

    def efficiency(self) -> list[tuple[int, float]]:
        """Return (bytes, modelled over measured time) for every size: time(n) / efficiency(n) is what was measured."""
        return [(n, self.line.time(n) / t) for n, t in self.points]


def make_transport(name: str, sizes: Sequence[int], moving: Sequence[float], reducing: Sequence[float]) -> Transport:
    """Fit one transport to the times of broadcast (`moving`) and reduce at `sizes`."""
    line = fit_line(sizes, moving)
    added = [(r - m) / n for n, m, r in zip(sizes, moving, reducing, strict=True) if 2 * line.beta * n > line.alpha]
    gamma = max(statistics.median(added), 0.0) if added else 0.0
    return Transport(name, line, gamma, tuple(zip(sizes, moving, strict=True)))


def calibrate(world: World, sizes: Sequence[int], budget: float) -> list[Transport]:
    """Measure between rank 0 and a neighbour on its node (shm), one on another node (mpi), and MPI's own p2p.

    Collective; the transports are returned on rank 0, elsewhere an empty list.
    """
    if world.size < 2:
        raise ValueError("--calibrate needs two ranks: mpirun -n 2 python -m pyccl.bench --calibrate FILE.toml")
    if len(sizes) < 2:
        raise ValueError("--calibrate needs two sizes to fit a line to")
    nodes = list(world.comm.nodes)
    near = next((rank for rank in range(1, world.size) if nodes[rank] == nodes[0]), None)
    far = next((rank for rank in range(1, world.size) if nodes[rank] != nodes[0]), None)
    found: list[Transport] = []
    for name, other in (("shm", near), ("mpi", far)):
        if other is None:
            continue
        part = cast("MPI.Intracomm", world.mpi.Split(0 if world.rank in (0, other) else 1, world.rank))
        if world.rank in (0, other):
            pair = world.part(part)
            with pair.comm:
                found += _measure(pair, name, sizes, min(PER_POINT, budget / (4 * len(sizes))), also_mpi=far is None)
        sleep_until_all(world.mpi)
        part.Free()
    return found if world.rank == 0 else []


def _measure(world: World, name: str, sizes: Sequence[int], seconds: float, *, also_mpi: bool) -> list[Transport]:
    require(world, needed(sizes[-1], registered=False))
    buffers = Buffers(world, sizes[-1], registered=False)
    times: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for nbytes in [*sizes] * PASSES:
        for kind, op in (("broadcast", "none"), ("reduce", "sum")):
            algorithm = "direct" if "direct" in world.library.algorithms(kind, 2) else "auto"
            case = Case(kind, "float32", op, nbytes // 4, 2, algorithm)
            sides = [contender(world, case, buffers, None), rival(world, case, buffers)]
            results = race(world, [side for side in sides if side is not None], seconds / PASSES)
            if any(result.wrong for result in results):
                raise RuntimeError(f"{kind} of {nbytes} B returned wrong elements: nothing to calibrate with")
            for label, result in zip((name, "mpi"), results, strict=True):
                times[label, kind, nbytes].append(result.sample.median)
    labels = (name, "mpi") if also_mpi else (name,)
    return [
        make_transport(label, sizes, *([min(times[label, kind, n]) for n in sizes] for kind in ("broadcast", "reduce")))
        for label in labels
    ]


def sleep_until_all(mpi: MPI.Intracomm) -> None:
    """Meet without burning the cores that the measuring ranks need."""
    request = mpi.Ibarrier()
    while not request.Test():
        time.sleep(0.02)


def document(world: World, transports: Sequence[Transport], observed: Sequence[Observed]) -> tomlkit.TOMLDocument:
    """Return the TOML document for the simulator. Collective: it describes every rank."""
    import tomlkit

    environment = describe(world)
    result = tomlkit.document()
    result.add(tomlkit.comment("time(n) = alpha + beta * n for n bytes moved, gamma * n more if they are reduced"))
    result.add("version", tomlkit.item(1))
    kept = ("date", "machine", "cpu", "cores", "kernel", "mpi_library", "pyccl", "ranks", "nodes")
    result.add("environment", tomlkit.item({key: environment[key] for key in kept}))
    section = tomlkit.table(is_super_table=True)
    for transport in transports:
        section.add(transport.name, _section(transport))
    result.add("transport", section)
    if observed:
        result.add("observed", _observed(observed))
    return result


def _observed(observed: Sequence[Observed]) -> Any:
    import tomlkit

    section = tomlkit.table()
    section.add(tomlkit.comment("pyccl's collectives on the first ranks (the others sleep), least disturbed round"))
    section.add("columns", ["collective", "ranks", "bytes", "median_s", "p99_s"])
    rows = tomlkit.array()
    for row in observed:
        rows.append([row.collective, row.ranks, row.nbytes, float(f"{row.median:.4g}"), float(f"{row.p99:.4g}")])
    rows.multiline(True)
    section.add("rows", rows)
    return section


def _section(transport: Transport) -> Any:
    import tomlkit

    line = transport.line
    section = tomlkit.table()
    if transport.name == "mpi":
        section.add(tomlkit.comment(f"measured with {library()}"))
    values = (
        ("alpha", line.alpha, "s per message"),
        ("beta", line.beta, f"s per byte ({1 / line.beta / 1e9:.2f} GB/s)" if line.beta else "s per byte"),
        ("gamma", transport.gamma, "s per byte that is reduced"),
        ("fit_median_error", line.median_error, "relative, median over the sizes"),
        ("fit_max_error", line.max_error, "relative, of the worst size"),
    )
    for key, value, unit in values:
        number = tomlkit.float_(repr(float(f"{value:.6g}")))
        number.comment(unit)
        section.add(key, number)
    rows = tomlkit.array()
    for (nbytes, share), (_, seconds) in zip(transport.efficiency(), transport.points, strict=True):
        rows.append([nbytes, float(f"{seconds:.4g}"), float(f"{share:.4g}")])
    rows.multiline(True)
    section.add(
        tomlkit.comment(
            "[bytes, measured s, efficiency = modelled / measured time]: divide time(n) by it to be exact at n"
        )
    )
    section.add("efficiency", rows)
    return section


def write_calibration(path: Path, world: World, transports: Sequence[Transport], observed: Sequence[Observed]) -> None:
    """Write the calibration file on rank 0. Collective."""
    text = document(world, transports, observed).as_string()
    if world.rank == 0:
        path.write_text(text)
