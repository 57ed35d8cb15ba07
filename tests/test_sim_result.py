"""What is made of a run: figures, files, pictures and the sentence of advice."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyccl.errors import ConfigError
from pyccl.sim import Cluster, Workers
from pyccl.sim.report import summary
from pyccl.sim.simulate import simulate
from pyccl.sim.strategies import parse, text
from pyccl.sim.training_result import Result
from tests.training import CLUSTER, MODEL, Fake, cluster


def result(strategy: str | Fake = "fake", **options: Any) -> Result:
    return simulate(cluster(), MODEL, strategy, **{"steps": 8, **options})


def test_figures() -> None:
    one = result()  # 1 s of computing and 0.5 s of bandwidth a step
    assert one.step_time == pytest.approx(1.5)
    assert one.throughput == pytest.approx(40 / 1.5)
    assert one.efficiency == pytest.approx(1 / 1.5)
    assert one.utilisation == pytest.approx(1 / 1.5)
    assert one.goodput == 1
    assert one.cost == pytest.approx(4 * 12)  # a dollar a second and host
    assert one.energy == pytest.approx(4 * 500 * 12)
    assert [link.nbytes for link in one.links()] == [300, 200, 100]
    assert one.links(1)[0].name == "host 1 nic 0 out"
    assert one.links(1)[0].utilisation == pytest.approx(300 / 10e9 / 12)


@pytest.mark.parametrize("steps", [1, 7, 100])
def test_the_breakdown_sums_to_the_makespan_exactly(steps: int) -> None:
    one = result("fake(jitter=true, extra=0.1)", steps=steps, seed=3)
    assert math.fsum(one.breakdown.values()) == one.makespan


def test_distribution_of_step_times() -> None:
    one = result("fake(jitter=true)", steps=1000)
    s = one.step_statistics
    assert s["min"] <= s["median"] <= s["p90"] <= s["p99"] <= s["max"]
    assert s["mean"] == pytest.approx(one.step_times.mean())


def test_staleness() -> None:
    one = result("fake(stale=3)")
    assert one.mean_staleness == 3
    assert one.to_dict()["staleness"] == {"mean": 3.0, "histogram": [0, 0, 0, 8]}
    assert result().to_dict()["staleness"] is None


def test_what_leaves_a_site_is_paid_for() -> None:
    settings = {**CLUSTER, "uplink": "1 GB/s", "uplink_latency": "10 ms", "sites": 2}
    free, paid = Cluster.wan(**settings), Cluster.wan(**settings, egress="1 USD/GB")
    moved = [0.0] * (len(paid.bandwidth) - 4) + [1e9, 2e9, 2e9, 1e9]
    assert free.egress(np.array(moved)) == 0
    assert paid.egress(np.array(moved)) == pytest.approx(3)


@pytest.mark.parametrize(
    ("strategy", "says"),
    [
        ("fake", "Limited by computing (67% of the time); devices twice as fast would help most, by up to 33%."),
        ("fake(extra=2)", "twice the bandwidth (the busiest link is host 1 nic 0 out"),
        ("fake(extra=2, category=1)", "waiting for slower workers"),
        ("fake(extra=2, category=2)", "half the latency"),
        ("fake(extra=2, category=4)", "links that several messages share"),
        ("fake(extra=2, category=5)", "failures and recovery"),
    ],
)
def test_advice(strategy: str, says: str) -> None:
    assert says in result(strategy).advice


def test_advice_names_one_cause() -> None:
    """More time goes into computing, of which a half could be saved, than into waiting, which could be saved."""
    mixed = result("fake(extra=0.45, category=1)")
    assert mixed.breakdown["compute"] > mixed.breakdown["straggler"]
    assert mixed.advice.startswith(
        "Limited by waiting for slower workers (47% of the time); a strategy that waits less"
    )
    assert mixed.advice.count(". ") == 0
    sharing = simulate(cluster(), MODEL, "fake(extra=2, category=4)", steps=2).advice
    assert sharing.startswith("Limited by links that several messages share (80% of the time); twice the bandwidth")


def test_step_times_and_the_last_pull_sum_to_the_makespan() -> None:
    one = simulate(cluster(), MODEL, "ps_async", steps=5)
    assert one.tail > 0
    assert math.fsum([*one.step_times, one.tail]) == pytest.approx(one.makespan, rel=1e-12)
    assert one.to_dict()["tail_s"] == one.tail
    assert result().tail == pytest.approx(0, abs=1e-12)


def test_clients_that_are_not_chosen_are_idle_and_no_stragglers() -> None:
    many = simulate(cluster(hosts=101), MODEL, "fedavg:10", steps=6)
    parts = many.breakdown
    assert parts["idle"] == pytest.approx(0.9 * many.makespan)
    assert parts["straggler"] < 0.02 * many.makespan
    assert math.fsum(parts.values()) == many.makespan
    assert "Limited by computing" in many.advice
    slow = simulate(
        cluster(hosts=101), MODEL, "fedavg:10", steps=6, workers=Workers(slow=dict.fromkeys(range(50), 4.0))
    )
    assert slow.breakdown["straggler"] > 0.02 * slow.makespan
    assert math.fsum(slow.breakdown.values()) == slow.makespan
    assert "idle" not in result().breakdown


def test_without_prices_there_is_no_cost() -> None:
    free = simulate(cluster(price=None), MODEL, "fake", steps=2)
    assert free.to_dict()["cost_usd"] is None
    assert ("cost", "no prices given: write price in [cluster]") in summary(free)
    assert ("cost", f"{result().cost:.2f} USD") in summary(result())


def test_ssp_warns_of_a_persistent_straggler() -> None:
    warning = "SSP absorbs jitter, never a persistent straggler: worker 2 sets the pace in the long run."
    slow, even = Workers(slow={2: 2.0}), Workers()
    assert simulate(cluster(), MODEL, "ssp:3", workers=slow, steps=5).advice.endswith(warning)
    assert "straggler:" not in simulate(cluster(), MODEL, "ssp:3", workers=even, steps=5).advice
    assert "replacing worker 2" in simulate(cluster(), MODEL, "fake(extra=2, category=1)", workers=slow).advice


def test_json_has_its_documented_keys(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    result().to_json(path)
    content = json.loads(path.read_text())
    page = (Path(__file__).parents[1] / "docs" / "simulator.md").read_text()
    missing = [key for key in content if f"`{key}`" not in page]
    assert not missing
    assert content["breakdown_s"].keys() == {
        "compute", "straggler", "latency", "bandwidth", "contention", "recovery",
    }  # fmt: skip


def test_csv(tmp_path: Path) -> None:
    result().to_csv(tmp_path / "out.csv")
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert len(rows) == 8
    assert float(rows[7]["end_s"]) == 12
    assert float(rows[7]["seconds"]) == pytest.approx(1.5)


def test_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow")
    result().to_parquet(tmp_path / "out.parquet")
    assert parquet.read_table(tmp_path / "out.parquet").column("step").to_pylist() == list(range(8))


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'pyccl-collectives[parquet]'")):
        result().to_parquet(tmp_path / "out.parquet")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'pyccl-collectives[plot]'")):
        result().plot()


def test_perfetto(tmp_path: Path) -> None:
    result(trace_steps=3).to_perfetto(tmp_path / "out.json")
    events = json.loads((tmp_path / "out.json").read_text())["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    assert [span["args"]["step"] for span in spans] == [0, 1, 2]
    assert spans[1]["ts"] == pytest.approx(1.5e6)
    assert spans[1]["dur"] == pytest.approx(1.5e6)
    with pytest.raises(ConfigError, match="trace_steps"):
        result().to_perfetto(tmp_path / "out.json")


@pytest.mark.parametrize("strategy", ["fake", "fake(jitter=true)", "fake(stale=2)"])
def test_pictures(strategy: str, tmp_path: Path) -> None:
    figure = result(strategy, steps=50).plot(tmp_path / "out.png")
    assert len(figure.axes) == 3
    assert (tmp_path / "out.png").read_bytes()[:4] == b"\x89PNG"


def test_html_stands_alone(tmp_path: Path) -> None:
    result().to_html(tmp_path / "out.html")
    page = (tmp_path / "out.html").read_text()
    assert "data:image/png;base64," in page
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)
    assert "a note" in page


@pytest.mark.parametrize("written", ["fake", "fake:0.5(stale=2)", "fake(jitter=True)", "ssp:3(servers=2)", "ring"])
def test_a_strategy_is_written_as_it_is_read(written: str) -> None:
    assert text(parse(written)) == written
    assert parse(text(parse(written))) == parse(written)
