"""The XML of an MSCCL program, read by expat's events: no entities, no tree, bounded size."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

from pyccl.collectives import COLLECTIVES
from pyccl.errors import ConfigError
from pyccl.sim.formats.msccl_program import Block, Instruction, Location
from pyccl.sim.formats.source import BLOCK, Source, show

__all__ = ["NAMES", "Algo", "parse"]

MAX_BYTES = 1 << 28
MAX_GPUS = 1 << 14
MAX_CHUNKS = 1 << 20
MAX_INSTRUCTIONS = 1 << 22
MAX_LOCATIONS = 1 << 23
TYPES = ("s", "r", "rrc", "rrs", "rcs", "rrcs", "cpy", "re", "nop")
NAMES = {name: name.replace("_", "") for name in COLLECTIVES}
NAMES["reduce_scatter"] = "reduce_scatter"
Ends = dict[tuple[int, int], dict[int, int]]
PARENTS = {"algo": "", "gpu": "algo", "tb": "gpu", "step": "tb"}
EXAMPLE = '<step s="0" type="rrc" srcbuf="i" srcoff="0" dstbuf="i" dstoff="0" cnt="1" depid="-1" deps="-1" hasdep="0"/>'


@dataclass
class Algo:
    """What the file says; the instructions are of one chunk each."""

    name: str
    collective: str
    size: int
    in_place: bool
    chunks: int  # of the longest buffer
    blocks: list[Block] = field(default_factory=list)


def parse(source: Source) -> Algo:
    """Return the program in the file.

    Raises
    ------
    ConfigError
        With the line.
    """
    parser = _Parser(source)
    while block := source.read(BLOCK):
        if source.taken > MAX_BYTES:
            raise source.error(f"has more than {MAX_BYTES} bytes")
        parser.feed(block)
    parser.feed(b"", True)
    return parser.finish()


@dataclass
class _Raw:
    line: int
    type: str
    source: Location
    dest: Location
    count: int
    after: tuple[int, int] | None


class _Parser:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.xml = expat.ParserCreate()
        self.xml.StartElementHandler = self._start
        self.xml.EndElementHandler = self._end
        self.xml.StartDoctypeDeclHandler = self._refuse
        self.xml.EntityDeclHandler = self._refuse
        self.open: list[str] = [""]
        self.algo: Algo | None = None
        self.rank = -1
        self.seen: set[int] = set()
        self.raw: dict[tuple[int, int], dict[int, _Raw]] = {}
        self.blocks: dict[tuple[int, int], Block] = {}
        self.total = 0

    def feed(self, data: bytes, last: bool = False) -> None:
        try:
            self.xml.Parse(data, last)
        except expat.ExpatError as error:
            raise self.source.error(f"is no XML: {expat.ErrorString(error.code)}", line=error.lineno) from None

    def _error(self, what: str, line: int | None = None) -> ConfigError:
        return self.source.error(what, line=self.xml.CurrentLineNumber if line is None else line)

    def _refuse(self, *_: object) -> None:
        raise self._error("a document type and entities have no place in an MSCCL program; remove them")

    def _start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag not in PARENTS or self.open[-1] != PARENTS[tag]:
            raise self._error(f"<{tag[:40]}> has no place in <{self.open[-1]}>; the order is algo, gpu, tb, step")
        self.open.append(tag)
        getattr(self, f"_{tag}")(attributes)

    def _end(self, tag: str) -> None:
        self.open.pop()

    def _int(self, attributes: Mapping[str, str], name: str, least: int, most: int, default: int | None = None) -> int:
        text = attributes.get(name)
        if text is None and default is not None:
            return default
        if text is None or not re.fullmatch(r"-?[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise self._error(f"<{self.open[-1]}> needs {name} from {least} to {most}, got {show(text or 'nothing')}")
        return int(text)

    def _algo(self, attributes: Mapping[str, str]) -> None:
        if self.algo:
            raise self._error("a second <algo>; write one to a file")
        given = attributes.get("coll", "")
        plain = given.lower().replace("_", "")
        found = [name for name in COLLECTIVES if name.replace("_", "") == plain and name != "barrier"]
        if not found:
            raise self._error(f"coll must be one of {', '.join(n for n in NAMES if n != 'barrier')}, got {show(given)}")
        size = self._int(attributes, "ngpus", 1, MAX_GPUS)
        in_place = bool(self._int(attributes, "inplace", 0, 1, 0))
        chunks = self._int(attributes, "nchunksperloop", 1, MAX_CHUNKS, 1)
        self.algo = Algo(attributes.get("name", "msccl")[:200], found[0], size, in_place, chunks)
        self.longest = 0

    def _gpu(self, attributes: Mapping[str, str]) -> None:
        assert self.algo is not None
        self.rank = self._int(attributes, "id", 0, self.algo.size - 1)
        if self.rank in self.seen:
            raise self._error(f"gpu {self.rank} comes twice")
        self.seen.add(self.rank)
        for name in ("i_chunks", "o_chunks"):
            self.longest = max(self.longest, self._int(attributes, name, 0, MAX_CHUNKS, 0))

    def _tb(self, attributes: Mapping[str, str]) -> None:
        assert self.algo is not None
        most = self.algo.size - 1
        block = Block(
            self.rank, self._int(attributes, "id", 0, 1 << 20), self._int(attributes, "send", -1, most, -1),
            self._int(attributes, "recv", -1, most, -1), self._int(attributes, "chan", 0, 1 << 20, 0),
        )  # fmt: skip
        if (self.rank, block.id) in self.blocks:
            raise self._error(f"gpu {self.rank} has tb {block.id} twice")
        if self.rank in (block.send, block.recv):
            raise self._error(f"gpu {self.rank} sends to or receives from itself; use cpy or re")
        self.blocks[self.rank, block.id] = self.block = block
        self.raw[self.rank, block.id] = {}

    def _step(self, attributes: Mapping[str, str]) -> None:
        index = self._int(attributes, "s", 0, MAX_INSTRUCTIONS)
        kind = attributes.get("type", "")
        if kind not in TYPES:
            raise self._error(f"type must be one of {', '.join(TYPES)}, got {show(kind)}; write {EXAMPLE}")
        receives = kind.startswith("r") and kind != "re"
        if (receives and self.block.recv < 0) or (kind.endswith("s") and self.block.send < 0):
            raise self._error(f"tb {self.block.id} of gpu {self.rank} names no peer for {kind}")
        steps = self.raw[self.rank, self.block.id]
        if index in steps:
            raise self._error(f"tb {self.block.id} of gpu {self.rank} has step {index} twice")
        count = self._int(attributes, "cnt", 0, MAX_CHUNKS, 1) if kind != "nop" else 0
        self.total += max(count, 1)
        if self.total > MAX_INSTRUCTIONS:
            raise self._error(f"has more than {MAX_INSTRUCTIONS} steps of one chunk")
        block = self._int(attributes, "depid", -1, 1 << 20, -1)
        step = self._int(attributes, "deps", -1, MAX_INSTRUCTIONS, -1)
        after = (block, step) if block >= 0 and step >= 0 else None
        source, dest = self._location(attributes, "src"), self._location(attributes, "dst")
        steps[index] = _Raw(self.xml.CurrentLineNumber, kind, source, dest, count, after)

    def _location(self, attributes: Mapping[str, str], side: str) -> Location:
        buffer = attributes.get(f"{side}buf", "i")
        if buffer not in ("i", "o", "s"):
            raise self._error(f"{side}buf must be i, o or s, got {show(buffer)}")
        return buffer, self._int(attributes, f"{side}off", -1, MAX_CHUNKS, 0)

    def finish(self) -> Algo:
        algo = self.algo
        if algo is None:
            raise self.source.error("has no <algo>")
        if len(self.seen) < algo.size:
            missing = next(rank for rank in range(algo.size) if rank not in self.seen)
            raise self.source.error(f"gpu {missing} of {algo.size} is missing")
        longest = max(self.longest, 1) if self.longest else algo.chunks
        fixed = COLLECTIVES[algo.collective].fixed_chunks is not None
        unit, rest = divmod(longest, algo.size) if fixed else (1, 0)
        if rest or not unit:
            raise self.source.error(f"{algo.collective} needs a multiple of {algo.size} chunks, got {longest}")
        if longest * algo.size > MAX_LOCATIONS:
            raise self.source.error(f"{algo.size} gpus of {longest} chunks are more than {MAX_LOCATIONS} together")
        algo.chunks = longest
        ends: dict[tuple[int, int], dict[int, int]] = {}
        for key, steps in self.raw.items():
            done, ends[key] = 0, {}
            for index, raw in sorted(steps.items()):
                done += max(raw.count // unit, 1)
                ends[key][index] = done
        for key, steps in self.raw.items():
            self._place(key, steps, unit, ends)
            algo.blocks.append(self.blocks[key])
        return algo

    def _place(self, key: tuple[int, int], steps: dict[int, _Raw], unit: int, ends: Ends) -> None:
        """Split steps of several chunks in steps of one; a chunk of the schedule is `unit` of the program's."""
        code = self.blocks[key].code
        for _, raw in sorted(steps.items()):
            offsets = (raw.count, raw.source[1], raw.dest[1])
            if any(offset % unit for offset in offsets if offset > 0):
                raise self._error(
                    f"moves parts of a rank's {unit} chunks; a schedule has one chunk a rank here", raw.line
                )
            after = self._after(key[0], raw, ends)
            for k in range(max(raw.count // unit, 1)):
                at = [(buffer, offset // unit + k) for buffer, offset in (raw.source, raw.dest)]
                kind = raw.type if raw.count else "nop"
                code.append(Instruction(raw.line, kind, at[0], at[1], after if not k else None))

    def _after(self, rank: int, raw: _Raw, ends: Ends) -> tuple[int, int] | None:
        if raw.after is None:
            return None
        block, step = raw.after
        done = ends.get((rank, block), {}).get(step)
        if done is None:
            raise self._error(f"depends on step {step} of tb {block}, which gpu {rank} has not", raw.line)
        return block, done
