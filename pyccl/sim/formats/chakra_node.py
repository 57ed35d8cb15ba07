"""A node of a Chakra execution trace, from its bytes and back."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from enum import IntEnum

from pyccl.sim.formats.protobuf import MalformedError, Value, fields, key, varint, varints

__all__ = ["COLLECTIVES", "Attributes", "NodeType", "RawNode", "attribute", "decode", "encode", "number"]

Attributes = dict[bytes, "int | float | bytes | None"]
MAX_MEMO = 1 << 16
COLLECTIVES = (
    "all_reduce", "reduce", "all_gather", "gather", "scatter", "broadcast", "all_to_all", "reduce_scatter",
    "reduce_scatter", "barrier",
)  # fmt: skip
FIXED = {3: "<d", 5: "<f", 19: "<I", 21: "<Q", 23: "<i", 25: "<q"}


class NodeType(IntEnum):
    """The schema's."""

    INVALID = 0
    METADATA = 1
    MEM_LOAD = 2
    MEM_STORE = 3
    COMP = 4
    COMM_SEND = 5
    COMM_RECV = 6
    COMM_COLL = 7


@dataclass
class RawNode:
    """What stands in the record."""

    id: int = 0
    name: bytes = b""
    type: int = 0
    deps: list[int] = field(default_factory=list)
    duration_micros: int = 0
    attributes: Attributes = field(default_factory=dict)


_memo: dict[bytes, tuple[bytes, int | float | bytes | None]] = {}


def decode(data: bytes) -> RawNode:
    """Return the node of a record.

    Raises
    ------
    MalformedError
        If the bytes are no such message.
    """
    node = RawNode()
    for tag, _, value in fields(data):
        if tag == 10 and isinstance(value, bytes):
            known = _memo.get(value)
            name, what = known if known is not None else _attribute(value)
            node.attributes[name] = what
        elif tag == 4 or tag == 5:
            if isinstance(value, int):
                node.deps.append(value)
            elif len(value) == 1 and value[0] < 128:
                node.deps.append(value[0])
            else:
                node.deps += varints(value)
        elif tag == 1:
            node.id = _int(value)
        elif tag == 2 and isinstance(value, bytes):
            node.name = value
        elif tag == 3:
            node.type = _int(value)
        elif tag == 7:
            node.duration_micros = _int(value)
    return node


def _int(value: Value) -> int:
    if not isinstance(value, int):
        raise MalformedError("a number is of the wrong wire type")
    return value


def _attribute(data: bytes) -> tuple[bytes, int | float | bytes | None]:
    name, what = b"", None
    for tag, _, value in fields(data):
        if tag == 1 and isinstance(value, bytes):
            name = value
        elif 3 <= tag <= 32:
            what = _scalar(tag, value)
    if len(data) < 256:
        if len(_memo) >= MAX_MEMO:
            _memo.clear()
        _memo[data] = (name, what)
    return name, what


def _scalar(tag: int, value: Value) -> int | float | bytes | None:
    """Return the value of an attribute; None for a list."""
    if isinstance(value, bytes):
        if tag in FIXED and len(value) == struct.calcsize(FIXED[tag]):
            (out,) = struct.unpack(FIXED[tag], value)
            return out  # type: ignore[no-any-return]
        return value if tag in (29, 31) else None
    if tag in (15, 17):
        return value >> 1 ^ -(value & 1)
    return value - (1 << 64) if tag in (7, 9) and value >> 63 else value


def number(value: int | float | bytes | None) -> int | float:
    """Return a scalar of any kind as a number.

    Raises
    ------
    MalformedError
        If it is none, or not finite.
    """
    if isinstance(value, bytes):
        try:
            value = float(value) if len(value) < 40 else None
        except ValueError:
            value = None
    if value is None or not math.isfinite(value):
        raise MalformedError("is no finite number")
    return int(value) if value == int(value) else value


def attribute(name: str, value: int | float | bool | str) -> bytes:
    """Return an attribute as a field of a node: bool, int64, double or string."""
    kind, what = (
        (27, int(value)) if isinstance(value, bool)
        else (9, value) if isinstance(value, int)
        else (3, value) if isinstance(value, float)
        else (29, value.encode())
    )  # fmt: skip
    return key(10, key(1, name.encode()) + key(kind, what))


def encode(node: RawNode, attributes: list[bytes]) -> bytes:
    """Return the bytes of a node; `attributes` come from `attribute`."""
    parts = [key(1, node.id)] if node.id else []
    parts += [key(2, node.name), key(3, node.type)]
    if node.deps:
        parts.append(key(5, b"".join(map(varint, node.deps))))
    if node.duration_micros:
        parts.append(key(7, node.duration_micros))
    return b"".join(parts + attributes)
