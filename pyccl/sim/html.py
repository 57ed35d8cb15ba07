"""One page of a result with its pictures inside: nothing else has to be there to read it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyccl.sim import plot, report
from pyccl.sim.strategies import text

if TYPE_CHECKING:
    from pyccl.sim.training_result import Result

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: #14202b }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
.advice { background: #e8f1fb; border-left: 4px solid #1f5fa8; padding: .7rem 1rem }
table { border-collapse: collapse } td, th { padding: .2rem .9rem .2rem 0; text-align: left; vertical-align: top }
th { font-weight: 600 } tr { border-bottom: 1px solid #e3e8ee } td.n { text-align: right }
img { max-width: 100% } pre { background: #f5f7f9; padding: .7rem; overflow-x: auto; font-size: 13px }
"""


def write(path: str | Path, result: Result) -> None:
    """Write the report of a result."""
    cluster = result.job.cluster
    title = f"{text(result.strategy)}: {result.job.model.name} on {cluster.size} devices"
    shares = [
        (name, report.seconds(value), f"{value / (result.makespan or 1):.1%}")
        for name, value in result.breakdown.items()
    ]
    links = [(link.name, report.scaled(link.nbytes, "B"), f"{link.utilisation:.1%}") for link in result.links(10)]
    parts = [
        f'<p class="advice">{escape(result.advice)}</p>',
        _table((), report.summary(result)),
        f'<img alt="step times, breakdown, staleness" src="{_picture(plot.result(result))}">',
        "<h2>Where the time goes</h2>", _table(("", "mean worker", "share"), shares),
        "<h2>Busiest links</h2>", _table(("link", "bytes", "use"), links),
    ]  # fmt: skip
    if result.run.notes:
        parts += ["<h2>Notes</h2><ul>", *(f"<li>{escape(note)}</li>" for note in result.run.notes), "</ul>"]
    parts += ["<h2>Cluster</h2>", f"<pre>{escape(cluster.to_toml())}</pre>"]
    figures = json.dumps(report.finite(result.to_dict()), indent=1)
    parts += ["<h2>All figures</h2>", f"<details><summary>JSON</summary><pre>{escape(figures)}</pre></details>"]
    Path(path).write_text(page(title, parts), encoding="utf-8")


def page(title: str, parts: Iterable[str]) -> str:
    """Return a page; `parts` are HTML, the title is text."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    body = "\n".join(parts)
    heading = f"<h1>{escape(title)}</h1>"
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>{heading}\n{body}\n</body></html>\n'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["".join(f"<th>{escape(name)}</th>" for name in head)] if head else []
    lines += ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _picture(drawn: Any) -> str:
    data = io.BytesIO()
    drawn.savefig(data, format="png")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode("ascii")
