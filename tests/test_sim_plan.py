"""Plans: the Pareto set of a known strategy, limits, seeds, refusals and sensitivity."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyccl.errors import ConfigError
from pyccl.sim.plan_result import Choice, Row, front
from pyccl.sim.planning import plan
from pyccl.sim.scenario import Scenario
from pyccl.sim.variations import VARIATIONS, with_devices, with_topology
from pyccl.sim.workers import Workers
from tests.training import MODEL, cluster


def scenario(*, hosts: int = 4, strategy: str = "fake(extra=0.25)", **wanted: Any) -> Scenario:
    return Scenario(cluster(hosts=hosts), MODEL, strategy=strategy, steps=8, plan={"samples": 1000, **wanted})


def row(seconds: float, cost: float) -> Row:
    return Row(Choice(1, "fake", "switch"), seconds, math.inf, cost, 1, "")


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_the_front_is_what_nobody_beats(points: list[tuple[int, int]]) -> None:
    rows = [row(*point) for point in points]
    found = {(r.seconds, r.cost) for r in front(rows)}
    beaten = {
        p for p in points if any(q[0] <= p[0] and q[1] <= p[1] and q != p for q in points)
    }  # fmt: skip
    assert found == set(points) - beaten


def test_more_workers_are_faster_and_dearer() -> None:
    """Fake takes 1 + 2/p seconds for 10 p samples, and a device costs a dollar a second."""
    found = plan(scenario(workers=[2, 4, 8]))
    assert [r.choice.workers for r in found.pareto] == [8]  # the communication of fake shrinks: all gain
    assert found.pareto[0].seconds == pytest.approx(1000 / (80 / 1.25))
    assert found.pareto[0].cost == pytest.approx(8 * found.pareto[0].seconds)
    assert len(found.rows) == 3


def test_limits_decide_what_is_recommended() -> None:
    wanted = scenario(workers=[2, 4, 8], strategies=["fake(extra=0)", "fake(extra=4, stale=1)"])
    found = plan(wanted, deadline=30.0, budget=1000.0)
    assert found.recommended is not None
    assert found.meets(found.recommended)
    assert found.answer.startswith(str(found.recommended.choice))
    none = plan(wanted, deadline=0.001)
    assert none.recommended is None
    assert "Nothing keeps deadline and budget" in none.answer
    assert plan(scenario(deadline=1e-3)).recommended is None  # the section's own


def test_intervals_over_seeds() -> None:
    found = plan(scenario(strategy="fake(jitter=true)", seeds=4))
    (one,) = found.rows
    assert one.seeds == 4
    assert 0 < one.error < one.seconds
    assert plan(scenario(seeds=1)).rows[0].error == math.inf


def test_without_prices_cost_is_device_hours() -> None:
    free = scenario().with_(cluster=cluster(price=None))
    found = plan(free)
    assert found.unit == "device-h"
    assert found.rows[0].cost == pytest.approx(4 * found.rows[0].seconds / 3600)


def test_goals() -> None:
    by_samples = plan(scenario(samples=6000)).rows[0].seconds
    epochs = scenario().with_(plan={"epochs": 2.0, "dataset": 3000})
    assert plan(epochs).rows[0].seconds == pytest.approx(by_samples)
    noise = scenario().with_(plan={"noise": 40.0, "least_steps": 100.0})
    assert plan(noise).rows[0].seconds == pytest.approx(200 * 1.5)
    own = scenario().with_(plan={})  # its own job: every device takes its batch in every step
    samples = own.steps * own.model.batch * own.cluster.size
    assert plan(own).rows[0].seconds == pytest.approx(plan(scenario(samples=samples)).rows[0].seconds)


def test_what_cannot_run_is_told() -> None:
    found = plan(scenario(topologies=["switch", "torus"]))
    assert [choice.topology for choice, _ in found.refused] == ["torus"]
    with pytest.raises(ConfigError, match=r"no configuration of .plan. can run"):
        plan(scenario(topologies=["torus"]))
    with pytest.raises(ConfigError, match="more than 100000"):
        plan(scenario(workers=list(range(1, 1000)), strategies=[f"fake(extra={i})" for i in range(200)]))


def test_sensitivity_names_what_moves_the_answer() -> None:
    effects = plan(scenario()).effects
    assert effects[0].what == "devices twice as fast"
    assert effects[0].change == pytest.approx(1.0 / 1.5 - 1)  # 0.5 s of computing less, of 1.5 s
    assert all(abs(a.change) >= abs(b.change) for a, b in pairwise(effects))


def test_other_workers() -> None:
    workers = Workers(compute="lognormal(cv=0.5)", slow={1: 3.0}, mtbf="1 h", repair="constant(10 s)")
    jittery = scenario().with_(workers=workers)
    steady, sturdy = (VARIATIONS[name](jittery) for name in ("equal workers, always alike", "half as many failures"))
    assert steady is not None
    assert sturdy is not None
    assert steady.workers == Workers(mtbf="1 h", repair="constant(10 s)")
    assert sturdy.workers == replace(workers, mtbf="2 h")
    assert VARIATIONS["half as many failures"](scenario()) is None


def test_files(tmp_path: Path) -> None:
    found = plan(scenario(workers=[2, 4, 8], strategies=["fake", "fake(jitter=true)"], deadline=100.0, budget=1e4))
    found.to_json(tmp_path / "plan.json")
    found.to_csv(tmp_path / "plan.csv")
    found.plot(tmp_path / "plan.png")
    content = json.loads((tmp_path / "plan.json").read_text())
    assert len(content["rows"]) == 6
    assert sum(r["pareto"] for r in content["rows"]) == len(found.pareto)
    assert (tmp_path / "plan.csv").read_text().count("\n") == 7


def test_other_clusters() -> None:
    tree = with_topology(cluster(), "fat_tree")
    assert (tree.topology, tree.size, tree.price) == ("fat_tree", 4, cluster().price)
    assert with_topology(cluster(gpus_per_host=2), "rail_optimised").size == 8
    assert with_devices(cluster(gpus_per_host=8), 64).hosts == 8
    assert with_devices(cluster(gpus_per_host=8), 4).hosts == 1
    with pytest.raises(ConfigError, match=re.escape("do not fill hosts of 8 devices")):
        with_devices(cluster(gpus_per_host=8), 12)
    with pytest.raises(ConfigError, match="did you mean 'fat_tree'"):
        with_topology(cluster(), "fat_tre")
