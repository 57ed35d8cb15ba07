"""`replay`: a trace on a cluster."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import numpy as np

from pyccl.sim import report
from pyccl.sim.cluster import Cluster
from pyccl.sim.replay import replay
from pyccl.sim.replay_result import ReplayResult

from .progress import spinner
from .tables import say, show

BUSIEST = 20
PER_RANK = (".et", ".et.gz", ".json", ".json.gz")


def main(arguments: Namespace) -> int:
    """Run a trace in virtual time, print what came of it, and write the files asked for."""
    cluster = Cluster.from_toml(arguments.cluster)
    with spinner(f"replaying {arguments.path}"):
        result = replay(
            arguments.path, cluster, algorithm=arguments.algorithm, replicate=arguments.replicate,
            ranks=arguments.ranks, measured=arguments.measured, spans=True if arguments.trace else None,
        )  # fmt: skip
    if arguments.ranks is None and result.trace.size < cluster.size and arguments.path.name.endswith(PER_RANK):
        say(f"note: there are files of ranks 0 to {result.trace.size - 1}, and {cluster.size} devices; a last rank's "
            f"file that is missing leaves no sign: --ranks {cluster.size} would refuse that")  # fmt: skip
    content = to_dict(result)
    whole = content["time_s"] or 1.0
    rows = [
        (name, report.seconds(content[f"{name}_s"]), f"{content[f'{name}_s'] / whole:.1%}")
        for name in ("compute", "communication", "idle")
    ]
    show(str(result).partition(";")[0], ("", "mean rank", "share"), rows)
    busiest = content["links"][:5]
    links = [(row["name"], report.scaled(row["bytes"], "B"), f"{row['utilisation']:.1%}") for row in busiest]
    if links:
        show("busiest links", ("link", "bytes", "use"), links)
    path = content["critical_path_s"]
    if path:
        limit = max(path, key=lambda name: path[name])
        say(f"Limited by {limit}: {path[limit] / whole:.0%} of the critical path; twice as fast there would save up to "
            f"{path[limit] / whole / 2:.0%}.")  # fmt: skip
    if arguments.json:
        report.write_json(arguments.json, content)
    if arguments.trace:
        result.to_perfetto(arguments.trace)
    return 0


def to_dict(result: ReplayResult) -> dict[str, Any]:
    """Return a replay as JSON has it."""
    cluster, moved, used = result.cluster, result.link_bytes, result.link_utilisation
    busiest = [] if cluster is None else np.argsort(-used, kind="stable")[:BUSIEST].tolist()
    return {
        "format": "pyccl.sim.replay", "version": 1, "trace": str(result.trace.source), "ranks": result.trace.size,
        "time_s": result.time, "finish_s": result.finish.tolist(), "messages": result.messages,
        "compute_s": float(result.compute.mean()), "communication_s": float(result.communication.mean()),
        "idle_s": float(result.idle.mean()), "critical_path_s": {} if result.begin is None else result.critical_path,
        "links": [
            {"name": cluster.link_name(link), "bytes": float(moved[link]), "utilisation": float(used[link])}
            for link in busiest if cluster is not None and moved[link] > 0
        ],
    }  # fmt: skip
