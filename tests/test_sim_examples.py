"""Every shipped scenario says what it answers, and runs through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyccl.sim import Scenario
from pyccl.sim.cli import main

SCENARIOS = sorted((Path(__file__).parents[1] / "docs" / "examples" / "scenarios").glob("*.toml"))
PATTERNS = {
    "ring", "hierarchical", "ps_dedicated", "ps_colocated", "ssp", "backup_workers", "local_sgd_wan", "fedavg_wan",
    "zero3", "pipeline", "embedding_all_to_all", "leader_fails", "leader_failover", "llama3_failures",
}  # fmt: skip


def test_every_pattern_has_a_scenario() -> None:
    assert {path.stem for path in SCENARIOS} == PATTERNS


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_scenario_runs(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = path.read_text().split("\n\n")[0]
    assert first.startswith("# ")
    assert first.rstrip().endswith(("?", "section 3.3.4."))
    out = tmp_path / "out.json"
    assert main(["run", str(path), "--steps", "8", "--json", str(out)]) == 0, capsys.readouterr().err
    content = json.loads(out.read_text())
    assert content["updates"] > 0
    assert content["makespan_s"] > 0
    assert sum(content["breakdown_s"].values()) == pytest.approx(content["makespan_s"], rel=1e-12)
    assert all(link["utilisation"] <= 1 + 1e-9 for link in content["links"])
    assert "Limited by" in capsys.readouterr().out


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_scenario_is_written_as_it_is_read(path: Path, tmp_path: Path) -> None:
    scenario = Scenario.load(path)
    (tmp_path / "again.toml").write_text(scenario.to_toml())
    again = Scenario.load(tmp_path / "again.toml")
    assert (again.cluster, again.model, again.workers, again.recovery, again.plan, again.strategy) == (
        scenario.cluster, scenario.model, scenario.workers, scenario.recovery, scenario.plan, scenario.strategy,
    )  # fmt: skip


def test_more_than_nine_tenths_of_llama_3_training_are_effective() -> None:
    """A. Dubey et al. 2024, section 3.3.4: 419 interruptions in 54 days, more than 90 % effective training time."""
    scenario = Scenario.load(next(path for path in SCENARIOS if path.stem == "llama3_failures"))
    assert 0.9 < scenario.run().goodput < 0.97


def test_same_seed_same_bits() -> None:
    scenario = Scenario.load(next(path for path in SCENARIOS if path.stem == "backup_workers"))
    one, two = (scenario.run(steps=20).to_dict() for _ in range(2))
    assert one == two
    assert scenario.run(steps=20, seed=99).to_dict() != one
