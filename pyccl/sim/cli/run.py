"""`run`: one scenario."""

from __future__ import annotations

from argparse import Namespace

from pyccl.sim import report
from pyccl.sim.scenario import Scenario
from pyccl.sim.strategies import text

from .progress import spinner
from .tables import say, show


def main(arguments: Namespace) -> int:
    """Simulate, print what came of it, and write the files asked for."""
    scenario = Scenario.load(arguments.scenario)
    with spinner(f"simulating {scenario.path}"):
        result = scenario.run(
            arguments.strategy, steps=arguments.steps, seed=arguments.seed,
            trace_steps=arguments.trace_steps if arguments.trace else 0,
        )  # fmt: skip
    cluster = scenario.cluster
    place = f"{cluster.size} devices, {cluster.hosts} hosts, {cluster.topology}"
    show(f"{text(result.strategy)}: {scenario.model.name} on {place}", ("", ""), report.summary(result), text_columns=2)
    whole = result.makespan or 1
    rows = [(name, report.seconds(value), f"{value / whole:.1%}") for name, value in result.breakdown.items()]
    show("where the time goes", ("", "mean worker", "share"), rows)
    links = [(link.name, report.scaled(link.nbytes, "B"), f"{link.utilisation:.1%}") for link in result.links(5)]
    if links:
        show("busiest links", ("link", "bytes", "use"), links)
    for note in result.run.notes:
        say(f"note: {note}")
    say(result.advice)
    for write, path in (
        (result.to_json, arguments.json), (result.to_csv, arguments.csv), (result.to_parquet, arguments.parquet),
        (result.to_perfetto, arguments.trace), (result.plot, arguments.plot), (result.to_html, arguments.html),
    ):  # fmt: skip
        if path:
            write(path)
    return 0
