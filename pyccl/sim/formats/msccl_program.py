"""MSCCL programs as schedules: buffers become the chunks of a collective, thread blocks one order of steps.

A program names buffers and offsets; a schedule names chunks, each of which a rank holds once. So the program is run on
symbols: every location holds a version of a chunk, and a step is expressible if what it reads is the version that the
schedule holds. What arrives beside a chunk that is still needed is not received until it is used, and then as one
``recv_reduce``.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field

from pyccl.errors import ConfigError
from pyccl.schedule import Kind, Step

__all__ = ["Block", "Instruction", "Layout", "Program", "run"]

Location = tuple[str, int]
Key = tuple[object, ...]


@dataclass(frozen=True)
class Instruction:
    """One step of a thread block, of one chunk; `after` is (block, how many of its instructions must be done)."""

    line: int
    type: str
    source: Location
    dest: Location
    after: tuple[int, int] | None


@dataclass(eq=False)
class Block:
    """A thread block of a rank."""

    rank: int
    id: int
    send: int
    recv: int
    channel: int
    code: list[Instruction] = field(default_factory=list)
    next: int = 0


@dataclass(frozen=True)
class Layout:
    """Which chunk lies where, at the start and at the end: per rank, location → chunk; and which locations are one."""

    initial: list[dict[Location, int]]
    final: list[dict[Location, int]]
    alias: list[dict[Location, Location]]


@dataclass(frozen=True)
class Program:
    """All ranks' thread blocks."""

    name: str
    size: int
    blocks: list[Block]
    layout: Layout


@dataclass(eq=False)
class _Value:
    """A version of a chunk; `message` while it has arrived and not been received."""

    chunk: int
    source: int = -1
    message: object | None = None
    places: int = 0  # locations that hold it


class _Blocked(Exception):  # noqa: N818  (no error: the block waits)
    def __init__(self, key: Key) -> None:
        super().__init__(key)
        self.key = key


def run(program: Program) -> list[list[Step]]:
    """Return each rank's steps.

    Raises
    ------
    ConfigError
        If the program is stuck, or does what a schedule cannot say; with the line.
    """
    machine = _Machine(program)
    machine.run()
    return machine.steps


class _Machine:
    def __init__(self, program: Program) -> None:
        self.program = program
        size = program.size
        self.steps: list[list[Step]] = [[] for _ in range(size)]
        self.held: list[dict[Location, _Value]] = []
        self.place: list[dict[int, _Value]] = []  # what the schedule holds of each chunk
        self.channels: dict[Key, deque[tuple[int, object]]] = defaultdict(deque)
        self.order: dict[tuple[int, int], deque[object]] = defaultdict(deque)  # messages of a pair, unreceived
        self.waiting: dict[Key, list[Block]] = defaultdict(list)
        self.touched: set[int] = set()  # whose messages the last step has received
        self.by_id = {(block.rank, block.id): block for block in program.blocks}
        for start in program.layout.initial:
            values = {chunk: _Value(chunk) for chunk in start.values()}
            self.place.append(values)
            self.held.append({location: values[chunk] for location, chunk in start.items()})
            for value in self.held[-1].values():
                value.places += 1

    def run(self) -> None:
        ready = deque(self.program.blocks)
        while ready:
            block = ready.popleft()
            if block.next == len(block.code):
                continue
            try:
                self._do(block, block.code[block.next])
                block.next += 1
                ready.append(block)
                woken = self._woken(block)
            except _Blocked as blocked:
                self.waiting[blocked.key].append(block)
                woken = []
            for key in [*woken, *(("order", source, block.rank) for source in self.touched)]:
                ready.extend(self.waiting.pop(key, ()))
        stuck = [block for block in self.program.blocks if block.next < len(block.code)]
        if stuck:
            raise self._stuck(stuck)
        self._end()

    def _woken(self, block: Block) -> list[Key]:
        """Return what may have come by a step of `block`."""
        return [("block", block.rank, block.id), ("channel", block.rank, block.send, block.channel)]

    def _do(self, block: Block, step: Instruction) -> None:
        self.touched = set()
        if step.after is not None:
            other = self.by_id[block.rank, step.after[0]]
            if other.next < step.after[1]:
                raise _Blocked(("block", block.rank, other.id))
        source, dest = self._location(block.rank, step.source), self._location(block.rank, step.dest)
        kind = step.type
        if kind == "s":
            self._send(block, self._read(block, step, source))
        elif kind == "cpy":
            held = self.held[block.rank]
            if source not in held:
                raise self._error(step, f"reads {_name(source)}, which holds nothing")
            self._put(block.rank, dest, held[source])
        elif kind == "re":
            self._reduce(block, step, source, dest)
        elif kind.startswith("rr"):
            self._receive_reduce(block, step, source, dest)
        elif kind.startswith("r"):
            value = self._receive(block, dest, forward=kind == "rcs")
            if kind == "rcs":
                self._send(block, value)

    def _location(self, rank: int, where: Location) -> Location:
        return self.program.layout.alias[rank].get(where, where)

    def _error(self, step: Instruction, what: str) -> ConfigError:
        return ConfigError(f"{self.program.name}:{step.line}: {step.type} {what}")

    def _send(self, block: Block, value: _Value) -> None:
        message = object()
        self.steps[block.rank].append(Step(Kind.SEND, value.chunk, -1, (block.send,)))
        self.channels["channel", block.rank, block.send, block.channel].append((value.chunk, message))
        self.order[block.rank, block.send].append(message)

    def _arrived(self, block: Block) -> tuple[int, object]:
        key = ("channel", block.recv, block.rank, block.channel)
        if not self.channels[key]:
            raise _Blocked(key)
        return self.channels[key][0]

    def _next(self, rank: int, source: int, message: object) -> None:
        """Take a message, which must be the oldest of its pair."""
        order = self.order[source, rank]
        if order[0] is not message:
            raise _Blocked(("order", source, rank))
        order.popleft()
        self.touched.add(source)

    def _receive(self, block: Block, dest: Location, forward: bool) -> _Value:
        """Let a message arrive: received at once if it overwrites nothing that is needed, else when it is used."""
        chunk, message = self._arrived(block)
        rank = block.rank
        value = _Value(chunk, block.recv, message)
        old = self.place[rank].get(chunk)
        needed = old is not None and old.places > (self.held[rank].get(dest) is old)
        if forward or not needed:
            self._settle(rank, value)
        self.channels["channel", block.recv, rank, block.channel].popleft()
        self._put(rank, dest, value)
        return value

    def _put(self, rank: int, where: Location, value: _Value) -> None:
        old = self.held[rank].get(where)
        if old is not None:
            old.places -= 1
        value.places += 1
        self.held[rank][where] = value

    def _settle(self, rank: int, value: _Value) -> None:
        """Receive a value that has arrived."""
        self._next(rank, value.source, value.message)
        self.steps[rank].append(Step(Kind.RECV, value.chunk, -1, (value.source,)))
        value.message = None
        self.place[rank][value.chunk] = value

    def _read(self, block: Block, step: Instruction, where: Location) -> _Value:
        value = self.held[block.rank].get(where)
        if value is None:
            raise self._error(step, f"reads {_name(where)}, which holds nothing")
        if value.message is not None:
            self._settle(block.rank, value)
        if self.place[block.rank].get(value.chunk) is not value:
            where_is = f"{_name(where)} on rank {block.rank}"
            what = f"reads {where_is}, an older version of chunk {value.chunk} than the rank has made since"
            raise self._error(step, f"{what}; a schedule holds one version of each chunk")
        return value

    def _combine(self, block: Block, chunk: int, source: int, message: object) -> _Value:
        self._next(block.rank, source, message)
        self.steps[block.rank].append(Step(Kind.RECV_REDUCE, chunk, -1, (source,)))
        value = _Value(chunk)
        self.place[block.rank][chunk] = value
        return value

    def _receive_reduce(self, block: Block, step: Instruction, source: Location, dest: Location) -> None:
        chunk, message = self._arrived(block)
        mine = self._read(block, step, source)
        if mine.chunk != chunk:
            raise self._error(step, f"combines chunk {chunk} with chunk {mine.chunk}")
        value = self._combine(block, chunk, block.recv, message)
        self.channels["channel", block.recv, block.rank, block.channel].popleft()
        if "c" in step.type:
            self._put(block.rank, dest, value)
        if step.type.endswith("s"):
            self._send(block, value)

    def _reduce(self, block: Block, step: Instruction, source: Location, dest: Location) -> None:
        held = self.held[block.rank]
        left, right = held.get(dest), held.get(source)
        if left is None or right is None:
            raise self._error(step, f"reads {_name(dest if left is None else source)}, which holds nothing")
        if left.chunk != right.chunk:
            raise self._error(step, f"combines chunk {left.chunk} with chunk {right.chunk}")
        arrived, other = (left, source) if left.message is not None else (right, dest)
        if arrived.message is None or left is right:
            raise self._error(step, f"combines two versions of chunk {left.chunk}; a schedule holds one")
        self._read(block, step, other)
        self._put(block.rank, dest, self._combine(block, arrived.chunk, arrived.source, arrived.message))
        arrived.message = None

    def _end(self) -> None:
        name = self.program.name
        for rank, final in enumerate(self.program.layout.final):
            for where, chunk in final.items():
                value = self.held[rank].get(self._location(rank, where))
                if value is not None and value.message is not None:
                    try:
                        self._settle(rank, value)
                    except _Blocked:
                        raise ConfigError(f"{name}: rank {rank} receives messages in another order than sent") from None
                if value is None or value.chunk != chunk or self.place[rank].get(chunk) is not value:
                    raise ConfigError(f"{name}: rank {rank} ends without chunk {chunk} in {_name(where)}")
        left = [pair for pair, messages in self.order.items() if messages]
        if left:
            raise ConfigError(f"{name}: rank {left[0][1]} does not use what rank {left[0][0]} sends")

    def _stuck(self, stuck: list[Block]) -> ConfigError:
        shown = [
            f"rank {b.rank} tb {b.id} line {b.code[b.next].line} ({b.code[b.next].type}"
            + (f" from {b.recv})" if b.code[b.next].type.startswith("r") else ")")
            for b in stuck[:4]
        ]
        return ConfigError(
            f"{self.program.name}: deadlock: {len(stuck)} thread blocks wait for ever: {', '.join(shown)}; their "
            "dependencies or the order of messages between two ranks (first in, first out) do not allow an end"
        )


def _name(where: Location) -> str:
    return f"{where[0]}[{where[1]}]"
