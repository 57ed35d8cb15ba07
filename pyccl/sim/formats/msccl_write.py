"""Schedules as MSCCL XML: a thread block for what goes to each peer, one for what comes from each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import quoteattr

from pyccl.errors import ConfigError
from pyccl.schedule import Kind, Schedule, Step
from pyccl.schedule.views import dependencies
from pyccl.sim.formats.msccl import input_location, output_location
from pyccl.sim.formats.msccl_program import Location
from pyccl.sim.formats.msccl_xml import NAMES

__all__ = ["write"]

TYPES = {Kind.SEND: "s", Kind.RECV: "r", Kind.RECV_REDUCE: "rrc", Kind.COPY: "cpy", Kind.REDUCE: "re"}
LOCAL = (-1, -1)


def write(schedule: Schedule, path: str | Path) -> None:
    """Write a schedule as an in-place MSCCL program of one channel (all_to_all: not in place).

    Raises
    ------
    ConfigError
        If it is a barrier, which MSCCL has not, or the file cannot be written.
    """
    if schedule.collective == "barrier":
        raise ConfigError("MSCCL has no barrier")
    in_place = int(schedule.collective != "all_to_all")
    chunks = schedule.nchunks if schedule.collective != "all_to_all" else schedule.size
    head = f'<algo name={quoteattr(schedule.algorithm)} proto="Simple" nchannels="1" nchunksperloop="{chunks}"'
    lines = [f'{head} ngpus="{schedule.size}" coll="{NAMES[schedule.collective]}" inplace="{in_place}">']
    for rank in range(schedule.size):
        lines += _gpu(schedule, rank, chunks)
    try:
        Path(path).write_text("\n".join([*lines, "</algo>", ""]), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error}") from error


class _Places:
    """Where a rank's program keeps each chunk."""

    def __init__(self, schedule: Schedule, rank: int) -> None:
        self.schedule = schedule
        self.rank = rank
        self.scratch: dict[int, int] = {}

    def of(self, chunk: int) -> Location:
        name, size = self.schedule.collective, self.schedule.size
        if name in ("all_gather", "gather"):
            return "o", chunk
        if name != "all_to_all":
            return "i", chunk
        if chunk // size == self.rank:
            return input_location(name, self.rank, size, chunk)
        if chunk % size == self.rank:
            return output_location(name, self.rank, size, chunk)
        return "s", self.scratch.setdefault(chunk, len(self.scratch))


def _gpu(schedule: Schedule, rank: int, chunks: int) -> Iterator[str]:
    places = _Places(schedule, rank)
    steps = tuple(single for step in schedule.steps[rank] for single in _singles(step))
    waits = dependencies(steps)
    blocks: dict[tuple[int, int], list[tuple[str, Location, Location, tuple[int, int] | None]]] = {}
    ids: dict[tuple[int, int], int] = {}
    done: list[tuple[tuple[int, int], int]] = []
    awaited = set()
    for step, others in zip(steps, waits, strict=True):
        peer = step.peers[0] if step.peers else -1
        key = (peer, -1) if step.kind == Kind.SEND else (-1, peer) if step.peers else LOCAL
        code = blocks.setdefault(key, [])
        ids.setdefault(key, len(ids))
        latest: dict[tuple[int, int], int] = {}
        for other in others:
            block, index = done[other]
            if block != key:
                latest[block] = max(latest.get(block, 0), index)
        afters: list[tuple[int, int] | None] = [(ids[block], index) for block, index in latest.items()]
        awaited.update(afters)
        here = places.of(step.chunk)
        code += [("nop", here, here, after) for after in afters[1:]]
        source = places.of(step.source_chunk) if step.source_chunk >= 0 else here
        code.append((TYPES[Kind(step.kind)], source, here, afters[0] if afters else None))
        done.append((key, len(code) - 1))
    if schedule.collective == "all_to_all":  # its own block lies in the input and belongs in the output
        blocks.setdefault(LOCAL, []).append(("cpy", ("i", rank), ("o", rank), None))
        ids.setdefault(LOCAL, len(ids))
    yield f'  <gpu id="{rank}" i_chunks="{chunks}" o_chunks="{chunks}" s_chunks="{len(places.scratch)}">'
    for key, code in blocks.items():
        yield f'    <tb id="{ids[key]}" send="{key[0]}" recv="{key[1]}" chan="0">'
        for index, (kind, source, dest, after) in enumerate(code):
            depid, deps = after or (-1, -1)
            yield (
                f'      <step s="{index}" type="{kind}" srcbuf="{source[0]}" srcoff="{source[1]}" dstbuf="{dest[0]}" '
                f'dstoff="{dest[1]}" cnt="{int(kind != "nop")}" depid="{depid}" deps="{deps}" '
                f'hasdep="{int((ids[key], index) in awaited)}"/>'
            )
        yield "    </tb>"
    yield "  </gpu>"


def _singles(step: Step) -> Iterator[Step]:
    if len(step.peers) <= 1:
        yield step
    for peer in step.peers if len(step.peers) > 1 else ():
        yield step._replace(peers=(peer,))
