"""`plan`: the Pareto set of time and cost."""

from __future__ import annotations

import math
from argparse import Namespace

from pyccl.sim import planning, report
from pyccl.sim.scenario import Scenario

from .progress import bar
from .tables import say, show


def main(arguments: Namespace) -> int:
    """Search, print the Pareto set, cheapest first, and write the files asked for."""
    scenario = Scenario.load(arguments.scenario)
    with bar("planning") as progress:
        plan = planning.plan(
            scenario, deadline=arguments.deadline, budget=arguments.budget, any_memory=arguments.any_memory,
            progress=progress,
        )  # fmt: skip
    rows = [
        (
            row.choice.strategy, row.choice.topology, str(row.choice.workers), report.seconds(row.seconds),
            f"± {report.seconds(row.error)}" if math.isfinite(row.error) else "", f"{row.cost:.5g}",
            "yes" if plan.meets(row) else "no",
        )
        for row in plan.pareto
    ]  # fmt: skip
    head = ("strategy", "topology", "workers", "time", "95 %", f"cost ({plan.unit})", "keeps the limits")
    show(f"the Pareto set of {len(plan.rows)} configurations, cheapest first", head, rows, text_columns=2)
    if plan.too_large:
        choice, why = plan.too_large[0]
        say(f"{len(plan.too_large)} configurations are left out, for they do not fit in a device's memory "
            f"(--any-memory keeps them), the first of them {choice}: {why}")  # fmt: skip
    if plan.refused:
        choice, why = plan.refused[0]
        say(f"{len(plan.refused)} configurations cannot run, the first of them {choice}: {why}")
    effects = [(e.what, f"{e.change:+.1%}", report.seconds(e.seconds), f"{e.cost:.5g}") for e in plan.effects]
    show("what moves the answer", ("change", "time", "new time", f"new cost ({plan.unit})"), effects)
    say(plan.answer)
    for write, path in ((plan.to_json, arguments.json), (plan.to_csv, arguments.csv), (plan.plot, arguments.plot)):
        if path:
            write(path)
    return 0
