"""Which configuration: a search over workers, strategies, buckets and topologies, and what moves the answer."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from pyccl.errors import ConfigError
from pyccl.sim import report
from pyccl.sim.cluster import Cluster
from pyccl.sim.convergence import NoiseScale
from pyccl.sim.plan_result import Choice, Effect, Plan, Row, front
from pyccl.sim.scenario import Scenario
from pyccl.sim.strategies import parse, text
from pyccl.sim.training_result import Result
from pyccl.sim.variations import VARIATIONS, with_devices, with_topology

MOST = 100_000
"""Configurations of one search."""
STEPS, SEEDS = 20, 5
NEAR = 1.1
"""What is within so much of the Pareto set after one seed is simulated with all of them."""
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)  # 97.5 % for 1, 2, … degrees of freedom


def goal_seconds(scenario: Scenario, result: Result) -> float:
    """Return the seconds that a result's pace needs for the scenario's goal."""
    plan = scenario.plan
    if "noise" in plan:
        model = NoiseScale(plan["noise"], plan["least_steps"], plan.get("penalty", 1.0))
        return model.seconds(result)
    if "epochs" in plan:
        samples = plan["epochs"] * plan["dataset"]
    else:  # without a goal, what the scenario's own job comes to
        samples = plan.get("samples", scenario.steps * scenario.model.batch * scenario.cluster.size)
    return float(samples / result.throughput) if result.throughput else math.inf


def choices(scenario: Scenario) -> Iterator[Choice]:
    """Yield the configurations that a scenario's plan asks for."""
    wanted = scenario.plan
    strategies: list[str] = []
    for name in wanted.get("strategies", (scenario.strategy,)):
        strategy = parse(name)
        fields = {f.name for f in dataclasses.fields(strategy)}  # type: ignore[arg-type]
        if "buckets" in wanted and "bucket" in fields:
            strategies += [text(replace(strategy, bucket=size)) for size in wanted["buckets"]]  # type: ignore[type-var]
        else:
            strategies.append(name)
    workers = wanted.get("workers", (scenario.cluster.size,))
    topologies = wanted.get("topologies", (scenario.cluster.topology,))
    for size, topology, strategy_text in itertools.product(workers, topologies, dict.fromkeys(strategies)):
        yield Choice(size, strategy_text, topology)


def plan(
    scenario: Scenario, *, deadline: float | None = None, budget: float | None = None, any_memory: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Plan:  # fmt: skip
    """Search the configurations of a scenario's section ``[plan]``.

    All are simulated with the same random numbers; those near the Pareto set again with more seeds.

    Parameters
    ----------
    scenario : Scenario
    deadline, budget : float, optional
        Seconds and USD; default: those of the section.
    any_memory : bool, default False
        Keep configurations that do not fit in a device's memory.
    progress : callable, optional
        Told how many simulations are done, of how many.

    Raises
    ------
    ConfigError
        If no configuration can run.
    """
    wanted = list(choices(scenario))
    if len(wanted) > MOST:
        raise ConfigError(f"{scenario.path}: [plan] has {len(wanted)} configurations, more than {MOST}; shorten a list")
    search = _Search(scenario)
    rows: dict[Choice, Row] = {}
    refused: list[tuple[Choice, str]] = []
    too_large: list[tuple[Choice, str]] = []
    for i, choice in enumerate(wanted):
        progress(i, len(wanted))
        try:
            row = search.row(choice, 1)
            if row.excess and not any_memory:
                too_large.append((choice, row.excess))
            else:
                rows[choice] = row
        except ConfigError as error:
            refused.append((choice, str(error)))
    if not rows and too_large:
        raise ConfigError(
            f"{scenario.path}: no configuration of [plan] fits in a device's memory: {too_large[0][0]}: "
            f"{too_large[0][1]}; write zero3, a pipeline or more workers, or keep them with --any-memory"
        )
    if not rows:
        raise ConfigError(f"{scenario.path}: no configuration of [plan] can run: {refused[0][0]}: {refused[0][1]}")
    seeds = scenario.plan.get("seeds", SEEDS)
    near = front(list(rows.values()), NEAR) if seeds > 1 else []
    for i, row in enumerate(near):
        progress(len(wanted) + i, len(wanted) + len(near))
        rows[row.choice] = search.row(row.choice, seeds)
    limits = (scenario.plan.get("deadline") if deadline is None else deadline,
              scenario.plan.get("budget") if budget is None else budget)  # fmt: skip
    found = Plan(tuple(rows.values()), tuple(refused), *limits, search.unit, too_large=tuple(too_large))
    target = found.recommended or found.pareto[-1]
    return replace(found, effects=search.effects(target.choice))


class _Search:
    """Simulates choices; clusters are made once."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario, self._clusters = scenario, dict[tuple[int, str], Cluster]()
        self.steps = scenario.plan.get("steps", min(scenario.steps, STEPS))
        self.unit = "USD" if scenario.cluster.price else "device-h"

    def _scenario(self, choice: Choice) -> Scenario:
        key = choice.workers, choice.topology
        if key not in self._clusters:
            cluster = with_topology(self.scenario.cluster, choice.topology)
            self._clusters[key] = with_devices(cluster, choice.workers)
        return self.scenario.with_(cluster=self._clusters[key], strategy=choice.strategy, text="")

    def measure(self, scenario: Scenario, seed: int) -> tuple[float, float, Result]:
        """Return seconds, cost and the result."""
        result = scenario.run(steps=self.steps, seed=scenario.seed + seed)
        seconds = goal_seconds(scenario, result)
        if self.unit == "USD":
            return seconds, result.cost / result.makespan * seconds if result.makespan else math.inf, result
        return seconds, scenario.cluster.size * seconds / 3600, result

    def row(self, choice: Choice, seeds: int) -> Row:
        """Return the means over seeds."""
        scenario = self._scenario(choice)
        measured = [self.measure(scenario, seed) for seed in range(seeds)]
        times = np.array([seconds for seconds, _, _ in measured])
        error = math.inf
        if seeds > 1 and np.isfinite(times).all():
            student = _STUDENT[seeds - 2] if seeds - 2 < len(_STUDENT) else 2.0
            error = float(student * times.std(ddof=1) / math.sqrt(seeds))
        result = measured[0][2]
        excess = report.too_little(result)
        cost = float(np.mean([cost for _, cost, _ in measured]))
        return Row(choice, float(times.mean()), error, cost, seeds, result.advice, excess)

    def effects(self, choice: Choice) -> tuple[Effect, ...]:
        """Return what single changes would bring, by the same random numbers; the largest first."""
        scenario = self._scenario(choice)
        seconds, _, _ = self.measure(scenario, 0)
        found = []
        for what, change in VARIATIONS.items():
            varied = change(scenario)
            if varied is not None:
                new, cost, _ = self.measure(varied, 0)
                found.append(Effect(what, new, cost, new / seconds - 1 if seconds else 0.0))
        return tuple(sorted(found, key=lambda effect: -abs(effect.change)))
