"""Chakra execution traces, one file a rank, ``<prefix>.<rank>.et`` [1]_: read and written without protobuf.

.. [1] S. Sridharan et al., "Chakra: Advancing Performance Benchmarking and Co-design using Standardized Execution
   Traces", arXiv:2305.14516
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pyccl.errors import ConfigError
from pyccl.sim.formats import chakra_node as wire
from pyccl.sim.formats.chakra_node import NodeType, RawNode, attribute
from pyccl.sim.formats.group_table import GroupTable
from pyccl.sim.formats.protobuf import MalformedError, key, message, unsigned
from pyccl.sim.formats.rank_files import rank_files
from pyccl.sim.formats.sizes import large_side, own_side
from pyccl.sim.formats.source import Source, show
from pyccl.sim.recorder import MAX_NBYTES, MAX_NODES, Recorder
from pyccl.sim.trace import ANY, COLLECTIVE_NAMES, Columns, Kind, Trace

__all__ = ["read", "write"]

MAX_RECORD = 1 << 26
MAX_DEPS = 1 << 28
MAX_INT32 = (1 << 31) - 1
MICRO = 1e-6
EXACT = "duration_seconds"  # ours: the field of the schema has whole microseconds


def read(
    path: str | Path, *, flops: float | None = None, groups: Mapping[str, Sequence[int]] | None = None
) -> Trace:  # fmt: skip
    """Read the traces of all ranks that lie beside `path`.

    Parameters
    ----------
    path : str or Path
        One file of the set, or a folder that holds one set.
    flops : float, optional
        Operations per second, for nodes that state num_ops and no duration; without it they take no time.
    groups : mapping of str to ranks, optional
        Members of the process groups; default: the ranks in whose traces a name occurs.

    Raises
    ------
    ConfigError
        If a file is damaged or contradicts itself (with the record and its byte), or a rank's file is missing.
    """
    paths = rank_files(path, r"\.(\d+)\.et(?:\.gz)?")
    table = GroupTable(groups)
    skipped: Counter[str] = Counter()
    readers = [_Reader(one, rank, len(paths), flops, table, skipped) for rank, one in enumerate(paths)]
    columns = tuple(reader.columns() for reader in readers)
    known = table.groups(len(paths), len(paths), str(path))
    sized = tuple(large_side(c, [group.size or len(paths) for group in known], str(path)) for c in columns)
    return Trace(sized, len(paths), known, str(path), dict(skipped))


class _Reader:
    """Reads one rank's file."""

    def __init__(
        self, path: Path, rank: int, size: int, flops: float | None,
        groups: GroupTable, skipped: Counter[str],
    ) -> None:  # fmt: skip
        self.path = path
        self.rank = rank
        self.size = size
        self.flops = flops
        self.groups = groups
        self.skipped = skipped
        self.out = Recorder()
        self.places: dict[int, int] = {}
        self.deps: list[tuple[int, list[int]]] = []

    def columns(self) -> Columns:
        with Source(self.path) as source:
            for index, (byte, data) in enumerate(self._records(source)):
                try:
                    if index:
                        self._node(wire.decode(data))
                except MalformedError as error:
                    raise source.error(f"record {index} {error}", byte=byte) from None
                if index > MAX_NODES:
                    raise source.error(f"has more than {MAX_NODES} nodes", byte=byte)
        for node, ids in self.deps:
            for other in dict.fromkeys(ids):
                if other in self.places:
                    self.out.after(node, self.places[other])
                else:
                    self.skipped["dependency on a node that is absent"] += 1
        return self.out.finish()

    def _records(self, source: Source) -> Iterator[tuple[int, bytes]]:
        buffer, at, base = b"", 0, 0
        while True:
            if len(buffer) - at < 10:
                base, buffer, at = base + at, buffer[at:] + source.read(), 0
                if not buffer:
                    break
            try:
                length, begin = unsigned(buffer, at)
            except MalformedError as error:
                raise source.error(f"the length of a record {error}", byte=base + at) from None
            if length > MAX_RECORD:
                raise source.error(
                    f"a record claims {length} bytes, the most is {MAX_RECORD}; this is no Chakra trace", byte=base + at
                )
            while len(buffer) - begin < length:
                more = source.read(max(1 << 20, length - (len(buffer) - begin)))
                if not more:
                    raise source.error(f"the file ends inside a record of {length} bytes", byte=base + at)
                base, buffer, begin, at = base + at, buffer[at:] + more, begin - at, 0
            yield base + at, buffer[begin : begin + length]
            at = begin + length

    def _node(self, raw: RawNode) -> None:
        if raw.id in self.places:
            raise MalformedError(f"has the id {raw.id}, as record {self.places[raw.id] + 1} has")
        kind = raw.type
        if kind in (NodeType.COMM_SEND, NodeType.COMM_RECV):
            index = self._message(raw)
        elif kind == NodeType.COMM_COLL and not self._flag(raw, b"is_cpu_op", False):
            index = self._collective(raw)
        elif kind <= NodeType.COMM_COLL:
            index = self._work(raw)
        else:
            raise MalformedError(f"has the node type {kind}; known are 0 to 7")
        self.places[raw.id] = index
        self.out.name(raw.id, raw.name)
        if raw.deps:
            self.deps.append((index, raw.deps))

    def _message(self, raw: RawNode) -> int:
        send = raw.type == NodeType.COMM_SEND
        name = "comm_dst" if send else "comm_src"
        if name.encode() not in raw.attributes:
            raise MalformedError(f"(id {raw.id}, {show(raw.name)}) has no {name}")
        least = 0 if send else ANY
        peer = self._int(raw, name, least, self.size - 1, 0)
        if peer == self.rank:
            raise MalformedError(f"(id {raw.id}, {show(raw.name)}) is a message from rank {peer} to itself")
        tag = self._int(raw, "comm_tag", least, MAX_INT32, 0)
        nbytes = self._int(raw, "comm_size", 0, MAX_NBYTES, 0)
        return self.out.add(
            Kind.SEND if send else Kind.RECV, nbytes, peer, tag, self._duration(raw), lane=self._lane(raw)
        )

    def _collective(self, raw: RawNode) -> int:
        code = self._int(raw, "comm_type", 0, len(wire.COLLECTIVES) - 1, 0)
        name = wire.COLLECTIVES[code]
        if b"comm_size" not in raw.attributes and name != "barrier":
            self.skipped["collective without comm_size"] += 1
            return self._work(raw)
        if b"involved_dim" in raw.attributes:
            self.skipped["involved_dim of a collective"] += 1
        nbytes = self._int(raw, "comm_size", 0, MAX_NBYTES, 0)
        root = self._int(raw, "root_rank", ANY, self.size - 1, ANY)
        label = raw.attributes.get(b"pg_name", b"")
        text = label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)
        group = self.groups.number(text, self.rank) if text else 0
        return self.out.add(
            Kind.COLL, nbytes, root, 0, self._duration(raw), COLLECTIVE_NAMES.index(name), group, self._lane(raw)
        )

    def _work(self, raw: RawNode) -> int:
        duration = self._duration(raw)
        nbytes = self._int(raw, "tensor_size", 0, MAX_NBYTES, 0)
        if raw.type in (NodeType.INVALID, NodeType.METADATA):
            self.skipped[f"{NodeType(raw.type).name} node, kept as one that takes no time"] += 1
        if raw.type in (NodeType.MEM_LOAD, NodeType.MEM_STORE):
            return self.out.add(Kind.MEM, nbytes, duration=duration, lane=self._lane(raw))
        if not duration and b"num_ops" in raw.attributes:
            ops = self._int(raw, "num_ops", 0, MAX_NBYTES, 0)
            if self.flops:
                duration = ops / self.flops
            elif ops:
                self.skipped["num_ops of a node without duration; pass flops="] += 1
        return self.out.add(Kind.COMP, nbytes, duration=duration, lane=self._lane(raw))

    def _duration(self, raw: RawNode) -> float:
        if EXACT.encode() in raw.attributes:
            exact = float(wire.number(raw.attributes[EXACT.encode()]))
            if exact < 0:
                raise MalformedError(f"(id {raw.id}) has a negative duration")
            return exact
        return raw.duration_micros * MICRO

    def _lane(self, raw: RawNode) -> int:
        if b"stream" in raw.attributes:
            return self._int(raw, "stream", 0, MAX_INT32, 0)
        return 0 if self._flag(raw, b"is_cpu_op", True) else 1

    def _flag(self, raw: RawNode, name: bytes, default: bool) -> bool:
        value = raw.attributes.get(name)
        if isinstance(value, bytes):
            return value.lower() in (b"true", b"1")
        return default if value is None else bool(value)

    def _int(self, raw: RawNode, name: str, least: int, most: int, default: int) -> int:
        if name.encode() not in raw.attributes:
            return default
        try:
            value = wire.number(raw.attributes[name.encode()])
        except MalformedError as error:
            raise MalformedError(f"(id {raw.id}, {show(raw.name)}): {name} {error}") from None
        if isinstance(value, int) and most == self.size - 1 < value:
            raise MalformedError(
                f"(id {raw.id}, {show(raw.name)}): {name} is rank {value}, but there are files of ranks 0 to {most} "
                f"only; add the file of rank {value}"
            )
        if not isinstance(value, int) or not least <= value <= most:
            raise MalformedError(f"(id {raw.id}, {show(raw.name)}): {name} must be from {least} to {most}, got {value}")
        return value


def write(trace: Trace, prefix: str | Path) -> tuple[Path, ...]:
    """Write ``<prefix>.<rank>.et`` for every rank and return the paths.

    Raises
    ------
    ConfigError
        If a node waits for another's begin, which Chakra cannot say, or a file cannot be written.
    """
    paths = []
    for rank in range(trace.size):
        path = Path(f"{prefix}.{rank}.et")
        if trace.of(rank).begun.any():
            raise ConfigError(f"{trace.source}: rank {rank} has nodes that wait for a begin, which Chakra cannot say")
        try:
            with path.open("wb") as file:
                file.write(message(key(1, b"0.0.4")))
                file.writelines(message(_encoded(trace, rank, index)) for index in range(len(trace.of(rank))))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error}") from error
        paths.append(path)
    return tuple(paths)


def _encoded(trace: Trace, rank: int, index: int) -> bytes:
    columns = trace.of(rank)
    kind, nbytes, lane = int(columns.kind[index]), int(columns.nbytes[index]), int(columns.lane[index])
    duration, peer = float(columns.duration[index]), int(columns.peer[index])
    peer += trace.shift(rank) if peer >= 0 else 0
    deps = [columns.id(int(other)) for other in columns.after(index)]
    types = (NodeType.COMP, NodeType.COMM_SEND, NodeType.COMM_RECV, NodeType.COMM_COLL, NodeType.MEM_LOAD)
    name = columns.names[index] if columns.names else f"{Kind(kind).name}_{index}"
    raw = RawNode(columns.id(index), name.encode(), types[kind], deps, round(duration / MICRO))
    out = [attribute("is_cpu_op", kind != Kind.COLL and lane == 0)]
    if lane > 1 or (kind == Kind.COLL and lane != 1):
        out.append(attribute("stream", lane))
    if raw.duration_micros * MICRO != duration:
        out.append(attribute(EXACT, duration))
    if kind in (Kind.SEND, Kind.RECV):
        out += [attribute("comm_dst" if kind == Kind.SEND else "comm_src", peer)]
        out += [attribute("comm_tag", int(columns.tag[index])), attribute("comm_size", nbytes)]
    elif kind == Kind.COLL:
        collective, group = COLLECTIVE_NAMES[int(columns.collective[index])], int(columns.group[index])
        members = trace.members(rank, group)
        out += [attribute("comm_type", wire.COLLECTIVES.index(collective))]
        out += [attribute("comm_size", own_side(collective, nbytes, len(members)))]
        if peer >= 0:
            out.append(attribute("root_rank", peer))
        if group:
            label = trace.groups[group].name or f"group{group}"
            out.append(attribute("pg_name", label if len(members) == trace.size else f"{label}@{members[0]}"))
    elif nbytes:
        out.append(attribute("tensor_size", nbytes))
    return wire.encode(raw, out)
