"""The wire format of protocol buffers, as far as Chakra needs it [1]_.

.. [1] https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct

__all__ = ["MalformedError", "Value", "fields", "key", "message", "unsigned", "varint", "varints"]

Value = int | bytes
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class MalformedError(ValueError):
    """These bytes are no message."""


def unsigned(data: bytes, at: int) -> tuple[int, int]:
    """Return the varint at `at`, and where it ends."""
    try:
        byte = data[at]
        if byte < 128:
            return byte, at + 1
        value, shift = byte & 127, 7
        while True:
            at += 1
            byte = data[at]
            value |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
            if shift > 63:
                raise MalformedError("a number has more than 10 bytes")
    except IndexError:
        raise MalformedError("ends inside a number") from None
    return value & 0xFFFFFFFFFFFFFFFF, at + 1


def fields(data: bytes) -> list[tuple[int, int, Value]]:
    """Return (field number, wire type, value) of a message; fixed-width values and strings are bytes."""
    out: list[tuple[int, int, Value]] = []
    at, end = 0, len(data)
    while at < end:
        tag = data[at]
        if tag < 128:
            at += 1
        else:
            tag, at = unsigned(data, at)
        wire = tag & 7
        value: Value
        if wire == VARINT:
            value = data[at] if at < end else 128
            if value < 128:
                at += 1
            else:
                value, at = unsigned(data, at)
        else:
            if wire == BYTES:
                length, at = unsigned(data, at)
            elif wire in (FIXED64, FIXED32):
                length = 8 if wire == FIXED64 else 4
            else:
                raise MalformedError(f"has wire type {wire}")
            if at + length > end:
                raise MalformedError(f"field {tag >> 3} of {length} bytes goes beyond the end")
            value = data[at : at + length]
            at += length
        out.append((tag >> 3, wire, value))
    return out


def varints(data: bytes) -> list[int]:
    """Return the numbers of a packed list."""
    out, at = [], 0
    while at < len(data):
        value, at = unsigned(data, at)
        out.append(value)
    return out


def varint(value: int) -> bytes:
    """Return the bytes of a number in ``[-2**63, 2**64)``."""
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def key(number: int, value: int | bytes | float) -> bytes:
    """Return a field: an int as a varint, a float as a double, bytes with their length."""
    if isinstance(value, float):
        return varint(number << 3 | FIXED64) + struct.pack("<d", value)
    if isinstance(value, int):
        return varint(number << 3 | VARINT) + varint(value)
    return varint(number << 3 | BYTES) + varint(len(value)) + value


def message(*parts: bytes) -> bytes:
    """Return a record of a stream: the length, then the parts."""
    body = b"".join(parts)
    return varint(len(body)) + body
