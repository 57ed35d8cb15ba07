"""One event of a PyTorch profiler trace, sorted into what a replay needs."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

from pyccl.sim.recorder import MAX_NBYTES
from pyccl.sim.trace import Kind

__all__ = ["GPU", "LAUNCH", "Event", "Work", "classify", "timing"]

GPU = ("kernel", "gpu_memcpy", "gpu_memset")
LAUNCH = ("cuda_runtime", "cuda_driver", "hip_runtime")
MAX_MICROSECONDS = 1e18
ITEM_BYTES = {
    "double": 8, "float": 4, "half": 2, "bfloat16": 2, "long": 8, "int": 4, "short": 2, "char": 1, "byte": 1, "bool": 1,
    "complexfloat": 8, "complexdouble": 16, "c10::half": 2, "c10::bfloat16": 2,
}  # fmt: skip
COLLECTIVES = {
    "allreduce": "all_reduce", "allgather": "all_gather", "allgatherbase": "all_gather",
    "reducescatter": "reduce_scatter", "reducescatterbase": "reduce_scatter", "alltoall": "all_to_all",
    "alltoallv": "all_to_all", "alltoallbase": "all_to_all", "broadcast": "broadcast", "reduce": "reduce",
    "gather": "gather", "scatter": "scatter", "barrier": "barrier",
}  # fmt: skip
KERNEL = re.compile(r"nccl(?:Dev)?Kernel_([A-Za-z]+)", re.ASCII)


class Event(NamedTuple):
    """When and where something ran: seconds; `place` is the device and stream, or the process and thread."""

    start: float
    duration: float
    place: tuple[str, str]


class Work(NamedTuple):
    """What ran: a node's columns, and the process group as (name, ranks listed)."""

    kind: Kind
    collective: str | None = None
    nbytes: int | None = 0
    peer: int = -1
    group: tuple[str, tuple[int, ...]] = ("", ())


def timing(event: dict[str, Any], args: dict[str, Any]) -> Event | None:
    """Return when and where a complete event ran; None if it has no length.

    Raises
    ------
    ValueError
        If its times are no finite numbers, or negative.
    """
    if event.get("ph") != "X" or "dur" not in event:
        return None
    start, duration = event.get("ts"), event["dur"]
    for name, value in (("ts", start), ("dur", duration)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MAX_MICROSECONDS:
            raise ValueError(f"{name} must be a number of microseconds, got {str(value)[:40]!r}")
    if duration < 0:
        raise ValueError(f"dur must not be negative, got {duration}")
    stream = args.get("stream", event.get("tid"))
    device = args.get("device", event.get("pid"))
    return Event(float(start or 0) * 1e-6, float(duration) * 1e-6, (str(device)[:40], str(stream)[:40]))


def _plain(name: str) -> str:
    name = re.sub(r"^(?:c10d::|gloo:|nccl:|mpi:)", "", name)
    return re.sub(r"[^a-z]|coalesced|intotensor|tensor", "", name.lower())


def classify(name: str, args: dict[str, Any]) -> Work:
    """Return what an event of this name did; `nbytes` is None where the trace does not say."""
    given = args.get("Collective name")
    found = KERNEL.search(name)
    text = _plain(given) if isinstance(given, str) else _plain(found[1]) if found else _plain(name)
    if text in ("send", "recv"):
        peer = args.get("Dst Rank" if text == "send" else "Src Rank")
        if isinstance(peer, int) and 0 <= peer < 1 << 24:
            return Work(Kind.SEND if text == "send" else Kind.RECV, None, _nbytes(args), peer)
    if text in COLLECTIVES:
        root = args.get("Root Rank", -1)
        peer = root if isinstance(root, int) and 0 <= root < 1 << 24 else -1
        nbytes = 0 if text == "barrier" else _nbytes(args)
        return Work(Kind.COLL, COLLECTIVES[text], nbytes, peer, _group(args))
    return Work(Kind.COMP)


def _nbytes(args: dict[str, Any]) -> int | None:
    counts = [args.get("In msg nelems"), args.get("Out msg nelems")]
    sound = [n for n in counts if isinstance(n, int) and not isinstance(n, bool) and n >= 0]
    item = ITEM_BYTES.get(str(args.get("dtype")).lower())
    if sound and item:
        return min(max(sound) * item, MAX_NBYTES)
    shapes, types = args.get("Input Dims"), args.get("Input type")
    if not isinstance(shapes, list) or not isinstance(types, list):
        return None
    total = 0
    for shape, kind in zip(shapes, types, strict=False):
        if isinstance(shape, list) and shape and all(isinstance(n, int) and 0 <= n < 1 << 48 for n in shape):
            total += math.prod(shape) * ITEM_BYTES.get(str(kind).lower(), 0)
    return min(total, MAX_NBYTES) if total else None


def _group(args: dict[str, Any]) -> tuple[str, tuple[int, ...]]:
    name, listed = args.get("Process Group Name"), args.get("Process Group Ranks")
    text = str(listed)
    ranks = tuple(int(r) for r in re.findall(r"\d{1,8}", text)) if listed and "..." not in text else ()
    return (str(name)[:200] if name is not None else "", ranks)
