"""One door for all traces: which format a file has is seen from its name, or from how it begins."""

from __future__ import annotations

import re
from pathlib import Path

from pyccl.errors import ConfigError
from pyccl.sim.formats import chakra, goal, kineto, layers
from pyccl.sim.formats.source import BOM, Source, show
from pyccl.sim.trace import Trace

__all__ = ["load"]


def load(path: str | Path, ranks: int | None = None) -> Trace:
    """Read a trace and check that it can run to its end.

    Parameters
    ----------
    path : str or Path
        Chakra (``.et``, or a folder of them), GOAL, layer text or a trace of the PyTorch profiler (``.json``).
    ranks : int, optional
        Replicate to so many; default: what the trace says.

    Raises
    ------
    ConfigError
        If it is none of these, is damaged, or would not end.
    """
    trace = _read(Path(path), ranks)
    trace.topological_check()
    return trace if ranks is None else trace.replicate(ranks)


def _read(path: Path, ranks: int | None) -> Trace:
    name = path.name.removesuffix(".gz")
    if path.is_dir():
        name = ".et" if any(re.search(r"\.et(\.gz)?$", file.name) for file in path.iterdir()) else ".json"
    if name.endswith(".et"):
        return chakra.read(path)
    if name.endswith(".json"):
        return kineto.read(path, ranks=ranks)
    with Source(path) as source:
        head = source.read(4096).removeprefix(BOM).lstrip()
    if head.startswith((b"num_ranks", b"//", b"/*")):
        return goal.read(path)
    if head.startswith(b"<"):
        raise ConfigError(f"{path}: is XML; an MSCCL program is a schedule, read it with pyccl.sim.formats.msccl.read")
    if re.match(rb"[A-Z_]+\b", head):
        return layers.read(path, ranks)
    raise ConfigError(
        f"{path}: begins with {show(head, 20)}; expected Chakra (.et), the PyTorch profiler's .json, "
        "GOAL ('num_ranks N') or layer text ('HYBRID_TRANSFORMER …')"
    )
