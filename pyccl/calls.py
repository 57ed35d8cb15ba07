"""From a user's arguments to one resolved call: arrays checked, sizes known, the result at hand.

Every function here raises TypeError or ValueError before anything is moved; the communicator turns that into a refusal
that the peers see.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pyccl import _core
from pyccl.arrays import NumpyArray, name_of, overlap, resolve
from pyccl.checks import block_counts, disjoint, flag, integer, output, seconds
from pyccl.collectives import COLLECTIVES, split
from pyccl.ops import Op, check_op, resolve_op

__all__ = ["RESOLVERS", "Group", "Resolved", "exchange"]

_PURPOSES = {"split": 0x10, "check_same": 0x11}  # as in csrc/engine/fingerprint.h


class Group(Protocol):
    """What a resolver needs to know of the communicator."""

    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...
    def _algorithm_code(self, collective: str, name: str, op: Op | None, nbytes: int, ordered: bool) -> int: ...


@dataclass(frozen=True)
class Resolved:
    """One call, ready to run, and what it returns."""

    arguments: _core.Arguments
    result: Any


def _call(
    comm: Group, collective: str, x: NumpyArray | None, out: NumpyArray | None, count: int, *, op: Op | None = None,
    root: int = -1, counts: tuple[int, ...] = (), send: tuple[int, ...] = (), recv: tuple[int, ...] = (),
    algorithm: str = "auto", timeout: float | None = None, large: int | None = None, ordered: bool = False,
    purpose: str = "",
) -> _core.Arguments:  # fmt: skip
    array = x if x is not None else out
    dtype = array.dtype if array is not None else np.dtype(np.uint8)
    user, details, note = 0, 0, ""
    if op is not None:
        check_op(op, name_of(dtype))
        user = op.address(name_of(dtype))
        details = op.fingerprint ^ (not op.commutative)
        note = f"op={op.name} {op.fingerprint:08x}" + ("" if op.commutative else ", not commutative") if details else ""
    if counts and counts == split(count, comm.size):
        counts = ()  # said or not, it is the same operation
    if counts:
        details = zlib.crc32(struct.pack(f"<{len(counts)}q", *counts), details)
        note += f"{', ' if note else ''}counts={list(counts)}"
    elif send:
        details = zlib.crc32(b"uneven", details)
        note = "send_counts"
    nbytes = (count if large is None else large) * dtype.itemsize
    code = comm._algorithm_code(collective, algorithm, op, nbytes, ordered)
    return _core.Arguments(
        kind=COLLECTIVES[collective].code,
        op=_PURPOSES[purpose] if purpose else 0 if op is None else op.code,
        algorithm=code,
        root=root,
        input=x,
        output=out,
        count=count,
        counts=list(counts),
        send_counts=list(send),
        recv_counts=list(recv),
        factor=1.0 if op is None or op.factor is None else op.factor,
        user=user,
        details=details,
        note=note,
        timeout=seconds(timeout),
    )


def all_reduce(
    comm: Group, x: Any, op: str | Op = "sum", *, out: Any = None, deterministic: bool = False,
    algorithm: str = "auto", timeout: float | None = None,
) -> Resolved:  # fmt: skip
    a = resolve(x, "x")
    result, view = output(x, out, a.shape, a.dtype)
    disjoint(a, view, 0)
    kind = resolve_op(op)
    options: dict[str, Any] = {
        "algorithm": algorithm,
        "timeout": timeout,
        "ordered": flag(deterministic, "deterministic"),
    }
    return Resolved(_call(comm, "all_reduce", a, view, a.size, op=kind, **options), result)


def reduce(
    comm: Group, x: Any, op: str | Op = "sum", *, root: int = 0, out: Any = None, deterministic: bool = False,
    algorithm: str = "auto", timeout: float | None = None,
) -> Resolved:  # fmt: skip
    root = integer(root, "root", 0, comm.size)
    a = resolve(x, "x")
    result, view = output(x, out, a.shape, a.dtype) if comm.rank == root else (None, None)
    if view is not None:
        disjoint(a, view, 0)
    options: dict[str, Any] = {
        "algorithm": algorithm,
        "timeout": timeout,
        "ordered": flag(deterministic, "deterministic"),
    }
    return Resolved(_call(comm, "reduce", a, view, a.size, op=resolve_op(op), root=root, **options), result)


def broadcast(comm: Group, x: Any, *, root: int = 0, algorithm: str = "auto", timeout: float | None = None) -> Resolved:
    root = integer(root, "root", 0, comm.size)
    sends = comm.rank == root
    a = resolve(x, "x", writable=not sends)
    source, target = (a, None) if sends else (None, a)
    call = _call(comm, "broadcast", source, target, a.size, root=root, algorithm=algorithm, timeout=timeout)
    return Resolved(call, x)


def reduce_scatter(
    comm: Group, x: Any, op: str | Op = "sum", *, counts: Sequence[int] | None = None, out: Any = None,
    deterministic: bool = False, algorithm: str = "auto", timeout: float | None = None,
) -> Resolved:  # fmt: skip
    a = resolve(x, "x")
    given = block_counts(counts, comm.size)
    blocks = given or split(a.size, comm.size)
    if sum(blocks) != a.size:
        raise ValueError(f"counts must add up to the {a.size} elements of x, got {sum(blocks)}")
    result, view = output(x, out, _block_shape(a, blocks, comm.rank), a.dtype)
    disjoint(a, view, sum(blocks[: comm.rank]))
    kind = resolve_op(op)
    options: dict[str, Any] = {
        "algorithm": algorithm,
        "timeout": timeout,
        "ordered": flag(deterministic, "deterministic"),
    }
    return Resolved(_call(comm, "reduce_scatter", a, view, a.size, op=kind, counts=given, **options), result)


def _block_shape(a: NumpyArray, blocks: Sequence[int], rank: int) -> tuple[int, ...]:
    """Keep the trailing axes where every block is a whole number of rows; flat otherwise."""
    row = math.prod(a.shape[1:]) if a.ndim > 1 else 1
    if a.ndim > 1 and row > 0 and all(block % row == 0 for block in blocks):
        return (blocks[rank] // row, *a.shape[1:])
    return (blocks[rank],)


def _gathered(comm: Group, a: NumpyArray, given: tuple[int, ...], out: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the blocks and the shape of what gathering `a` gives."""
    if given:
        blocks = given
    elif out is not None:
        blocks = split(resolve(out, "out").size, comm.size)
    else:
        blocks = (a.size,) * comm.size
    if blocks[comm.rank] != a.size:
        hint = "" if given else f"; with {comm.size} ranks out holds {sum(blocks)} elements (pass counts if uneven)"
        raise ValueError(f"x must have {blocks[comm.rank]} elements on rank {comm.rank}, got {a.size}{hint}")
    if a.ndim > 1 and not given and out is None:
        return blocks, (a.shape[0] * comm.size, *a.shape[1:])
    row = math.prod(a.shape[1:]) if a.ndim > 1 else 1
    if a.ndim > 1 and row > 0 and sum(blocks) % row == 0:
        return blocks, (sum(blocks) // row, *a.shape[1:])
    return blocks, (sum(blocks),)


def all_gather(
    comm: Group, x: Any, *, counts: Sequence[int] | None = None, out: Any = None, algorithm: str = "auto",
    timeout: float | None = None,
) -> Resolved:  # fmt: skip
    a = resolve(x, "x")
    given = block_counts(counts, comm.size)
    blocks, shape = _gathered(comm, a, given, out)
    result, view = output(x, out, shape, a.dtype)
    disjoint(a, view, sum(blocks[: comm.rank]))
    call = _call(comm, "all_gather", a, view, sum(blocks), counts=given, algorithm=algorithm, timeout=timeout)
    return Resolved(call, result)


def exchange(comm: Group, x: NumpyArray, purpose: str) -> Resolved:
    """Return an all_gather that is a part of another method: errors and records show that one's name, `purpose`."""
    result = np.empty(comm.size * x.size, x.dtype)
    return Resolved(_call(comm, "all_gather", x, result, result.size, purpose=purpose), result)


def gather(
    comm: Group, x: Any, *, root: int = 0, counts: Sequence[int] | None = None, out: Any = None,
    algorithm: str = "auto", timeout: float | None = None,
) -> Resolved:  # fmt: skip
    root = integer(root, "root", 0, comm.size)
    a = resolve(x, "x")
    given = block_counts(counts, comm.size)
    blocks, shape = _gathered(comm, a, given, None)
    result, view = output(x, out, shape, a.dtype) if comm.rank == root else (None, None)
    if view is not None:
        disjoint(a, view, sum(blocks[: comm.rank]))
    call = _call(comm, "gather", a, view, sum(blocks), root=root, counts=given, algorithm=algorithm, timeout=timeout)
    return Resolved(call, result)


def scatter(
    comm: Group, x: Any = None, *, root: int = 0, counts: Sequence[int] | None = None, out: Any = None,
    algorithm: str = "auto", timeout: float | None = None,
) -> Resolved:  # fmt: skip
    root = integer(root, "root", 0, comm.size)
    given = block_counts(counts, comm.size)
    a = None if x is None else resolve(x, "x")
    if a is None and comm.rank == root:
        raise TypeError("x must be an array on the root")
    if a is None and out is None:
        raise TypeError("out must be given where x is not: it tells dtype and size")
    if a is not None:
        blocks = given or split(a.size, comm.size)
        if sum(blocks) != a.size:
            raise ValueError(f"counts must add up to the {a.size} elements of x, got {sum(blocks)}")
        result, view = output(x, out, _block_shape(a, blocks, comm.rank), a.dtype)
    else:
        result, view = out, resolve(out, "out", writable=True)
        blocks = given or (view.size,) * comm.size
        if view.size != blocks[comm.rank]:
            raise ValueError(f"out must have {blocks[comm.rank]} elements on rank {comm.rank}, got {view.size}")
    source = a if comm.rank == root else None
    if source is not None:
        disjoint(source, view, sum(blocks[: comm.rank]))
    total = sum(blocks)
    call = _call(comm, "scatter", source, view, total, root=root, counts=given, algorithm=algorithm, timeout=timeout)
    return Resolved(call, result)


def all_to_all(
    comm: Group, x: Any, *, send_counts: Sequence[int] | None = None, recv_counts: Sequence[int] | None = None,
    out: Any = None, algorithm: str = "auto", timeout: float | None = None,
) -> Resolved:  # fmt: skip
    a = resolve(x, "x")
    if (send_counts is None) != (recv_counts is None):
        raise ValueError("send_counts and recv_counts must be given together")
    send, recv = (
        block_counts(send_counts, comm.size, "send_counts"),
        block_counts(recv_counts, comm.size, "recv_counts"),
    )
    if send:
        if sum(send) != a.size:
            raise ValueError(f"send_counts must add up to the {a.size} elements of x, got {sum(send)}")
        own = send[comm.rank], recv[comm.rank]
        if own[0] != own[1]:
            raise ValueError(f"send_counts and recv_counts differ on the own rank: {own[0]}, {own[1]}")
        result, view = output(x, out, (sum(recv),), a.dtype)
    else:
        if a.size % comm.size:
            raise ValueError(f"x has {a.size} elements, not a multiple of {comm.size} ranks: pass send_counts")
        result, view = output(x, out, a.shape, a.dtype)
    if overlap(a, view):
        a = a.copy()  # every block is needed until its receiver has it
    count = 0 if send else a.size // comm.size
    call = _call(
        comm, "all_to_all", a, view, count, send=send, recv=recv, algorithm=algorithm, timeout=timeout, large=a.size
    )
    return Resolved(call, result)


def barrier(comm: Group, *, algorithm: str = "auto", timeout: float | None = None) -> Resolved:
    return Resolved(_call(comm, "barrier", None, None, 0, algorithm=algorithm, timeout=timeout), None)


RESOLVERS: Mapping[str, Callable[..., Resolved]] = {
    "all_reduce": all_reduce,
    "reduce_scatter": reduce_scatter,
    "all_gather": all_gather,
    "broadcast": broadcast,
    "reduce": reduce,
    "gather": gather,
    "scatter": scatter,
    "all_to_all": all_to_all,
    "barrier": barrier,
}
