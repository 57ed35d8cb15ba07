"""What devices did when, in the JSON that ui.perfetto.dev and chrome://tracing show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pyccl.errors import ConfigError

if TYPE_CHECKING:
    from pyccl.sim.training_result import Result


def write(path: str | Path, result: Result) -> None:
    """Write a trace; hosts are processes, devices threads, times microseconds.

    Raises
    ------
    ConfigError
        If no spans were kept.
    """
    spans, cluster = result.run.spans, result.job.cluster
    if not len(spans.rank):
        if result.job.trace_steps:
            raise ConfigError("this strategy keeps no spans, so there is nothing to trace")
        raise ConfigError("no spans were kept: give simulate() trace_steps of at least 1")
    host_of = cluster.host_of
    with Path(path).open("w", encoding="utf-8") as file:
        file.write('{"displayTimeUnit": "ms", "traceEvents": [\n')
        for rank in sorted(set(spans.rank.tolist())):
            place = {"ph": "M", "pid": int(host_of[rank]), "tid": rank}
            file.write(json.dumps({**place, "name": "process_name", "args": {"name": f"host {host_of[rank]}"}}) + ",\n")
            file.write(json.dumps({**place, "name": "thread_name", "args": {"name": f"device {rank}"}}) + ",\n")
        columns = (spans.rank.tolist(), spans.kind, spans.begin.tolist(), spans.end.tolist(), spans.step.tolist())
        for i, (rank, kind, begin, end, step) in enumerate(zip(*columns, strict=True)):
            event = {
                "name": kind, "ph": "X", "pid": int(host_of[rank]), "tid": rank,
                "ts": begin * 1e6, "dur": (end - begin) * 1e6, "args": {"step": step},
            }  # fmt: skip
            file.write((",\n" if i else "") + json.dumps(event))
        file.write("\n]}\n")
