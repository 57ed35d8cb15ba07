"""`compare`: strategies side by side, on the same random numbers."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from pyccl.errors import ConfigError
from pyccl.sim import plot, report
from pyccl.sim.scenario import Scenario
from pyccl.sim.strategies import parse
from pyccl.sim.training_result import Result

from .progress import bar
from .tables import say, show


def main(arguments: Namespace) -> int:
    """Simulate each strategy, print a table, and write the files asked for."""
    scenario = Scenario.load(arguments.scenario)
    strategies = {name: parse(name) for name in arguments.strategies}
    found: list[tuple[str, Result]] = []
    refused: list[tuple[str, str]] = []
    with bar("comparing") as progress:
        for i, (name, strategy) in enumerate(strategies.items()):
            progress(i, len(strategies))
            try:
                found.append((name, scenario.run(strategy, steps=arguments.steps, seed=arguments.seed)))
            except ConfigError as error:
                refused.append((name, str(error)))
    if not found:
        raise ConfigError(f"none of these strategies suits {scenario.path}: {refused[0][0]}: {refused[0][1]}")
    cluster = scenario.cluster
    show(f"{scenario.model.name} on {cluster.size} devices, {cluster.hosts} hosts, {cluster.topology}",
         ("strategy", "step", "p99", "samples/s", "efficiency", "compute", "waiting", "network", "recovery",
          "staleness", "memory", "cost"), [_row(name, result) for name, result in found])  # fmt: skip
    for name, why in refused:
        say(f"{name} does not suit: {why}")
    for name, result in found:
        if not result.fits:
            say(f"! {name} {report.too_little(result)}")
    name, best = max(found, key=lambda pair: (pair[1].fits, pair[1].throughput))
    say(f"Most samples/s{'' if best.fits else ', but nothing fits'}: {name}. {best.advice}")
    _write(arguments, scenario, found, refused)
    return 0


def _row(name: str, result: Result) -> tuple[str, ...]:
    times, whole, parts = result.step_statistics, result.makespan or 1, result.breakdown
    network = parts["latency"] + parts["bandwidth"] + parts["contention"]
    return (
        name, report.seconds(times["mean"]), report.seconds(times["p99"]), f"{result.throughput:.5g}",
        f"{result.efficiency:.1%}", f"{parts['compute'] / whole:.1%}", f"{parts['straggler'] / whole:.1%}",
        f"{network / whole:.1%}", f"{parts['recovery'] / whole:.1%}",
        "-" if result.staleness is None else f"{result.mean_staleness:.3g}",
        _memory(result), f"{result.cost:.2f} USD" if result.priced else "no prices",
    )  # fmt: skip


def _memory(result: Result) -> str:
    return f"{report.scaled(result.memory, 'B')}{'' if result.fits else ' !'}" if result.memory else "-"


def _write(
    arguments: Namespace, scenario: Scenario, found: list[tuple[str, Result]], refused: list[tuple[str, str]]
) -> None:
    results = [{**result.to_dict(), "strategy": name} for name, result in found]
    if arguments.json:
        content: dict[str, Any] = {
            "format": "pyccl.sim.comparison", "version": 1, "scenario": scenario.path, "results": results,
            "refused": [{"strategy": name, "why": why} for name, why in refused],
        }  # fmt: skip
        report.write_json(arguments.json, content)
    if arguments.csv:
        flat = [{**_flat(row)} for row in results]
        report.write_csv(arguments.csv, {key: [row[key] for row in flat] for key in flat[0]})
    if arguments.plot:
        plot.save(plot.comparison(found), arguments.plot)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of a result in one line."""
    plain = {key: value for key, value in row.items() if isinstance(value, (int, float, str)) and key != "format"}
    plain["staleness_mean"] = row["staleness"]["mean"] if row["staleness"] else 0.0
    for name in ("step_time_s", "breakdown_s"):
        plain |= {f"{name[:-2]}_{part}_s": value for part, value in row[name].items()}
    return plain
