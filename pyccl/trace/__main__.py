"""`python -m pyccl.trace`: merge the traces of all ranks, and say who waited for whom."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pyccl.errors import ConfigError
from pyccl.trace.chrome import chrome_trace
from pyccl.trace.format import read_folder
from pyccl.trace.merge import Merged, merge

_EXAMPLES = """examples:
  PYCCL_TRACE=traces mpirun -n 8 python train.py     write a file per rank and communicator
  python -m pyccl.trace traces                       who waited for whom, and what did not finish
  python -m pyccl.trace traces --out run.json        and a timeline: open it in ui.perfetto.dev
  kill -USR2 PID                                     lets a rank that hangs write its file now
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, or 2 if the traces cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m pyccl.trace",
        description="Merge the traces that ranks have written under PYCCL_TRACE, and print who waited for whom.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dir", type=Path, help="the folder that PYCCL_TRACE named")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a timeline for ui.perfetto.dev")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--top", type=int, default=10, metavar="N", help="how many operations to print (default 10)")
    options = parser.parse_args(argv)
    try:
        merged = merge(read_folder(options.dir))
        if options.out is not None:
            options.out.write_text(json.dumps(chrome_trace(merged), allow_nan=False) + "\n")
    except (ConfigError, OSError) as error:
        print(f"pyccl.trace: error: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(summary(merged, options.top), indent=1, allow_nan=False))
    else:
        show(merged, options.top, Console(width=max(Console().width, 100), highlight=False, emoji=False))
    return 0


def blame(merged: Merged) -> dict[tuple[str, int], tuple[float, int]]:
    """Return per communicator and rank how many seconds others waited for it, and in how many operations."""
    found: dict[tuple[str, int], tuple[float, int]] = defaultdict(lambda: (0.0, 0))
    for wait in merged.waits:
        seconds, times = found[wait.group, wait.last]
        found[wait.group, wait.last] = (seconds + wait.caused, times + 1)
    return dict(sorted(found.items(), key=lambda item: -item[1][0]))


def summary(merged: Merged, top: int) -> dict[str, Any]:
    """Return what is printed, in seconds and bytes."""
    return {
        "communicators": [
            {"name": g.name, "size": g.size, "missing": g.missing, "lost": {r: g.logs[r].header.lost for r in g.logs}}
            for g in merged.groups
        ],
        "clock_error": {host: None if math.isinf(error) else error for host, error in merged.errors.items()},
        "ranks": [
            {"communicator": group, "rank": rank, "caused": seconds, "times_last": times}
            for (group, rank), (seconds, times) in blame(merged).items()
        ],
        "waits": [
            {"communicator": w.group, "kind": w.kind, "sequence": w.sequence, "nbytes": w.nbytes, "last": w.last,
             "place": w.place, "caused": w.caused, "longest": w.longest}
            for w in merged.waits[:top]
        ],
        "unfinished": [
            {"communicator": u.group, "operation": u.text, "waiting": u.waiting, "failed": u.failed,
             "absent": u.absent}
            for u in merged.unfinished
        ],
    }  # fmt: skip


def show(merged: Merged, top: int, console: Console) -> None:
    """Print tables."""
    for group in merged.groups:
        count = max(len(log.operations) for log in group.logs.values())
        text = f"communicator {group.name[:8]}: {group.size} ranks, {count} operations"
        console.print(escape(text + (f"; no file of rank(s) {_ranks(group.missing)}" if group.missing else "")))
        lost = max(log.header.lost for log in group.logs.values())
        if lost:
            console.print(f"  the oldest {lost} operations had been overwritten")
    for host, error in merged.errors.items():
        if error > 0:
            known = "by the wall clocks alone" if math.isinf(error) else f"to about {_time(error)}"
            console.print(escape(f"clock of host {host[:8]} aligned {known}"))
    ranks = Table(
        "communicator", "rank", "others waited for it", "came last", title="Who was waited for", title_justify="left"
    )
    for (group_name, rank), (seconds, times) in blame(merged).items():
        ranks.add_row(escape(group_name[:8]), str(rank), _time(seconds), f"{times} times")
    console.print(ranks)
    table = Table(
        "operation",
        "bytes",
        "last",
        "others waited",
        "longest",
        "called at",
        title="The costliest waits",
        title_justify="left",
    )
    for w in merged.waits[:top]:
        cells = (f"{w.kind} #{w.sequence}", str(w.nbytes), f"rank {w.last}", _time(w.caused), _time(w.longest), w.place)
        table.add_row(*map(escape, cells))
    console.print(table)
    if merged.unfinished:
        console.print("Not finished", style="bold")
    for u in merged.unfinished[:top]:
        parts = [("waiting: rank(s)", u.waiting), ("failed: rank(s)", u.failed), ("never came: rank(s)", u.absent)]
        console.print(escape(f"  {u.text}; " + "; ".join(f"{name} {_ranks(r)}" for name, r in parts if r)))


def _ranks(ranks: Sequence[int]) -> str:
    return ", ".join(map(str, ranks))


def _time(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


if __name__ == "__main__":
    sys.exit(main())
