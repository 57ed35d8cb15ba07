"""What does not fit in a device's memory: told by results, marked by compare, left out by plan."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from pyccl.errors import ConfigError
from pyccl.sim import Cluster, Model, plan, simulate
from pyccl.sim.cli import main
from pyccl.sim.scenario import Scenario
from tests.training import MODEL, cluster

LARGE = """
[cluster]
topology = "switch"
hosts = 16
nic = "50 GB/s"
latency = "2 us"
{memory}

[model]
preset = "llama-7b"
device = "H100"

[training]
strategy = "ring"
steps = 2

[plan]
samples = 1000
strategies = ["ring", "zero3"]
seeds = 1
"""


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    (tmp_path / "s.toml").write_text(LARGE.replace("{memory}", ""))
    return str(tmp_path / "s.toml")


def test_where_the_memory_is_known_from() -> None:
    def memory(cluster: Cluster, model: Model) -> float:
        return simulate(cluster, model, "fake", steps=1).device_memory

    v100 = Model.preset("resnet50", device="V100")
    assert memory(cluster(), MODEL) == math.inf
    assert memory(cluster(), v100) == 32e9
    assert memory(cluster(memory="24 GB"), v100) == 24e9
    kinds = [{"hosts": 2, "memory": "40 GB"}, {"hosts": 2, "memory": "16 GB"}, {"hosts": 1}]
    assert memory(Cluster.switch(nic="1 GB/s", latency="1 us", nodes=kinds), v100) == 16e9
    assert memory(cluster(), Model.from_table(v100.to_table())) == 32e9
    with pytest.raises(ConfigError, match="did you mean 'V100'"):
        Model("one", MODEL.layers, device="V10")


def test_memory_is_a_setting_with_a_unit(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(cluster(memory="80 GB").to_toml())
    assert Cluster.from_toml(tmp_path / "c.toml").nodes[0].memory == 80e9
    for bad, says in (("80", "has no unit"), ("0 GB", "above 0")):
        with pytest.raises(ConfigError, match=says):
            cluster(memory=bad)


def test_a_result_says_that_it_does_not_fit() -> None:
    tight, wide = (simulate(cluster(memory=size), MODEL, "fake", steps=1) for size in ("0.5 GB", "2 GB"))
    assert (tight.fits, wide.fits) == (False, True)
    assert tight.advice.startswith("Limited by memory: a device has 500 MB and this needs 1 GB; zero3")
    assert tight.to_dict()["device_memory_bytes"] == 5e8
    assert tight.to_dict()["fits"] is False
    assert "memory" not in wide.advice


def test_compare_marks_it_and_recommends_what_fits(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", scenario, "--strategies", "ring,zero3", "--json", str(tmp_path / "c.json")]) == 0
    said = capsys.readouterr().out
    assert "! ring needs 126 GB on each device, which has 80 GB: it does not fit" in " ".join(said.split())
    assert "Most samples/s: zero3." in said
    assert [row["fits"] for row in json.loads((tmp_path / "c.json").read_text())["results"]] == [False, True]
    assert main(["compare", scenario, "--strategies", "ring"]) == 0
    assert "nothing fits" in capsys.readouterr().out


def test_plan_leaves_it_out(scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", scenario, "--json", str(tmp_path / "p.json")]) == 0
    said, found = capsys.readouterr().out, json.loads((tmp_path / "p.json").read_text())
    assert "1 configurations are left out" in said
    assert "--any-memory" in said
    assert [row["strategy"] for row in found["rows"]] == ["zero3"]
    assert [row["strategy"] for row in found["too_large"]] == ["ring"]
    assert main(["plan", scenario, "--any-memory", "--json", str(tmp_path / "p.json")]) == 0
    rows = json.loads((tmp_path / "p.json").read_text())["rows"]
    assert [(row["strategy"], row["fits"]) for row in rows] == [("ring", False), ("zero3", True)]


def test_a_plan_of_which_nothing_fits(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(LARGE.replace("{memory}", 'memory = "1 GB"'))
    with pytest.raises(ConfigError, match=r"no configuration of .plan. fits in a device's memory: .*--any-memory"):
        plan(Scenario.load(tmp_path / "s.toml"))
