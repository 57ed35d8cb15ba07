"""MSCCL XML [1]_: programs become schedules, which the verifier proves and the runtime runs; and back.

.. [1] M. Cowan et al., "MSCCLang: Microsoft Collective Communication Language", ASPLOS 2023,
   doi:10.1145/3575693.3575724
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pyccl.collectives import COLLECTIVES
from pyccl.errors import ConfigError
from pyccl.schedule import Builder, Schedule, encode, verify
from pyccl.sim.formats.msccl_program import Layout, Location, Program, run
from pyccl.sim.formats.msccl_xml import NAMES, Algo, parse
from pyccl.sim.formats.source import Source

__all__ = ["as_algorithm", "read"]


def read(path: str | Path, root: int = 0) -> Schedule:
    """Read an MSCCL program as a proven schedule.

    Parameters
    ----------
    path : str or Path
    root : int, default 0
        The root of a rooted collective, which the format does not name.

    Raises
    ------
    ConfigError
        If the file is no MSCCL program (with the line), or does what a schedule cannot say.
    VerificationError
        If it does not do what its collective promises; a ConfigError, too.
    """
    with Source(path) as source:
        algo = parse(source)
    row = COLLECTIVES[algo.collective]
    if not 0 <= root < algo.size:
        raise ConfigError(f"{path}: root must be in [0, {algo.size}), got {root}")
    nchunks = row.fixed_chunks(algo.size) if row.fixed_chunks else algo.chunks
    steps = run(Program(str(path), algo.size, algo.blocks, _layout(algo, root, nchunks)))
    tables = tuple(encode(mine) for mine in steps)
    for table in tables:
        table.flags.writeable = False
    nodes = (0,) * algo.size
    schedule = Schedule(algo.collective, algo.name, algo.size, root, nodes, nchunks, "schedule", True, tables)
    verify(schedule)
    return schedule


def input_location(collective: str, rank: int, size: int, chunk: int) -> Location:
    """Return where the program of `rank` finds a chunk that it holds at the start."""
    if collective == "all_to_all":
        return "i", chunk - rank * size
    return "i", 0 if collective in ("all_gather", "gather") else chunk


def output_location(collective: str, rank: int, size: int, chunk: int) -> Location:
    """Return where the program of `rank` must leave a chunk that it holds at the end."""
    if collective == "all_to_all":
        return "o", chunk // size
    return "o", 0 if collective in ("reduce_scatter", "scatter") else chunk


def _layout(algo: Algo, root: int, nchunks: int) -> Layout:
    row, size = COLLECTIVES[algo.collective], algo.size
    initial, final, alias = [], [], []
    for rank in range(size):
        start = {input_location(row.name, rank, size, c): c for c in row.initial(rank, size, root, nchunks)}
        end = {output_location(row.name, rank, size, c): c for c in row.final(rank, size, root, nchunks)}
        same: dict[Location, Location] = {}
        if algo.in_place:
            same = _in_place(row.name, rank, max(nchunks, size))
        initial.append({same.get(where, where): chunk for where, chunk in start.items()})
        final.append(end)
        alias.append(same)
    return Layout(initial, final, alias)


def _in_place(collective: str, rank: int, nchunks: int) -> dict[Location, Location]:
    """Return which locations are another one when input and output are one buffer."""
    if collective in ("all_gather", "gather"):
        return {("i", 0): ("o", rank)}
    if collective in ("reduce_scatter", "scatter"):
        return {("o", 0): ("i", rank)}
    return {("o", chunk): ("i", chunk) for chunk in range(nchunks)}


def as_algorithm(schedule: Schedule) -> Callable[[Builder], None]:
    """Return a function that writes `schedule`, for `pyccl.register_algorithm`.

    Give its size, too: ``register_algorithm(s.collective, as_algorithm(s), sizes=lambda n: n == s.size)``.
    It serves one node arrangement and, for a rooted collective, one root: for others it raises ValueError.
    """

    def write(b: Builder) -> None:
        if b.size != schedule.size or (schedule.row.rooted and b.root != schedule.root):
            raise ValueError(
                f"{schedule.algorithm} is for {schedule.size} ranks and root {schedule.root}, got {b.size} and {b.root}"
            )
        if schedule.row.fixed_chunks is None:
            b.chunks(schedule.nchunks)
        b.stream += schedule.tables[b.rank].tolist()

    write.__name__ = schedule.algorithm
    write.__doc__ = f"{schedule.algorithm}: {NAMES[schedule.collective]} of {schedule.size} ranks, from MSCCL XML."
    return write
