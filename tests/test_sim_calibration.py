"""Calibration files and others' measurements: they predict what they were made of, and bad ones are named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pyccl.cost import Hockney, predict
from pyccl.errors import ConfigError
from pyccl.sim import Cluster, calibration, efficiency, simulate_collective, validate

RATIOS = Path(__file__).parent / "data" / "traces" / "nic_ratio.csv"


def calibration_text(rows: list[list[object]], cores: object = 2) -> str:
    return (
        f"version = 1\n[environment]\ncores = {cores}\n[transport.shm]\nalpha = 1e-6\nbeta = 1e-10\ngamma = 0.0\n"
        f"efficiency = [[8, 1e-6, 0.5], [1024, 2e-6, 1.0]]\n[observed]\n"
        f"columns = {json.dumps(list(calibration.COLUMNS))}\nrows = {json.dumps(rows)}\n"
    )


def shared_machine(ranks: int, nbytes: int, cores: int = 2) -> float:
    """Return what the collectives take on a machine that is as `Calibration.seconds` takes it to be."""
    return 20e-6 * (ranks - 1 + max(0, ranks - cores)) + 1e-9 * nbytes * (ranks - 1) / ranks * max(1.0, ranks / cores)


def test_a_calibration_predicts_other_sizes_and_more_ranks(tmp_path: Path) -> None:
    path = tmp_path / "here.toml"
    sizes = [64 << k for k in range(18)]
    rows = [["broadcast", p, n, shared_machine(p, n), 1.0] for p in (2, 4, 8) for n in sizes]
    path.write_text(calibration_text(rows))
    report = validate.validate_calibration(path)
    between, more = report.parts
    assert len(between.errors) == 18
    assert len(more.errors) == 18
    assert np.median(between.errors) < 0.05
    assert np.quantile(more.errors, 0.9) < 0.10
    known = calibration.load(path)
    assert known.seconds("broadcast", 8, 4096) == pytest.approx(shared_machine(8, 4096), rel=1e-9)
    with pytest.raises(ConfigError, match="was not calibrated"):
        known.seconds("all_reduce", 2, 8)


def test_a_transport_is_a_cluster(tmp_path: Path) -> None:
    path = tmp_path / "here.toml"
    path.write_text(calibration_text([]))
    known = calibration.load(path)
    seen = simulate_collective(known.cluster(2, "shm"), "broadcast", 1 << 20, algorithm="direct").time
    assert seen == pytest.approx(1e-6 + 1e-10 * (1 << 20), rel=1e-9)
    slow = simulate_collective(known.cluster(2, "shm", nbytes=8), "broadcast", 8, algorithm="direct").time
    assert slow == pytest.approx(known.transports["shm"].seconds(8), rel=1e-9)
    with pytest.raises(ConfigError, match="no transport 'tcp'"):
        known.cluster(2, "tcp")


@pytest.mark.parametrize(("text", "says"), [
    ("", "no section"),
    ("[transport", "not TOML"),
    (calibration_text([], cores='"two"'), r":3: environment.cores must be a whole number"),
    (calibration_text([]).replace("alpha = 1e-6", "alpha = -1.0"), r":5: alpha must be a finite number"),
    (calibration_text([]).replace("beta = 1e-10", "beta = nan"), r":6: beta must be a finite number"),
    (calibration_text([]).replace("beta = 1e-10\n", ""), "beta must be a finite number of at least 0, got None"),
    (calibration_text([]).replace("[[8, 1e-6, 0.5], [1024, 2e-6, 1.0]]", "[[8, 1]]"), r":8: efficiency must be"),
    (calibration_text([]).replace("[1024,", "[4,"), r":8: efficiency needs ascending sizes"),
    (calibration_text([["broadcast", 2, 64, 0.0, 1.0]]), r":11: a time must be above 0"),
    (calibration_text([["scan", 2, 64, 1.0, 1.0]]), r":11: a row is"),
    (calibration_text([["broadcast", 1, 64, 1.0, 1.0]]), r":11: rows: expected a whole number of at least 2"),
    (calibration_text([]).replace('"p99_s"', '"worst"'), r":10: observed.columns must be"),
])  # fmt: skip
def test_a_bad_calibration_is_one_error_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "here.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        calibration.load(path)


def test_a_calibration_with_nothing_to_score(tmp_path: Path) -> None:
    path = tmp_path / "here.toml"
    for rows, says in (([], "no sizes 4\\^k"), ([["broadcast", 2, 64, 1.0, 1.0]], "nothing to score")):
        path.write_text(calibration_text(rows))
        with pytest.raises(ConfigError, match=says):
            validate.validate_calibration(path)


def test_alpha_and_beta_of_a_closed_form_are_found_again() -> None:
    network = Hockney(3e-6, 2e-10)
    sizes = [1e3, 1e5, 1e7]
    found = calibration.fit_network("all_reduce", "ring", 5, sizes,
                                    [predict("all_reduce", "ring", 5, n, network) for n in sizes])  # fmt: skip
    assert (found.alpha, found.beta) == pytest.approx((network.alpha, network.beta), rel=1e-6)
    burst = calibration.fit_network("all_reduce", "ring", 2, [1e5, 1e6], [0.01, 1.0])
    assert (burst.alpha, burst.beta) == pytest.approx((0, 1e-6))
    with pytest.raises(ConfigError, match="two different sizes"):
        calibration.fit_network("all_reduce", "ring", 2, [1e5], [0.01])


# --- what others measured


def test_efficiency_of_nccl_tests_slows_a_cluster(tmp_path: Path) -> None:
    path = tmp_path / "all_reduce_perf.txt"
    path.write_text(
        "#  Rank  0\n#  Rank  1\n#       size         count      type   redop    root     time   algbw   busbw\n"
        "     1048576        262144     float     sum      -1   1000.0    1.05    1.05\n"
        "    16777216       4194304     float     sum      -1   2000.0    8.39    8.39\n"
    )
    found = efficiency.from_nccl_tests(path, "16777216 kB/s")
    assert found.at(16777216) == pytest.approx(0.5)
    plain = Cluster.switch(hosts=2, nic="16777216 kB/s", latency="0 s")
    slowed = found.cluster(plain, 16777216)
    seconds = simulate_collective(slowed, "all_reduce", 16777216, algorithm="ring").time
    assert seconds == pytest.approx(2e-3, rel=1e-9)
    kinds = Cluster.switch(nodes=[{"name": "a", "hosts": 2, "nic": 8.0}], latency=0.0)
    assert found.cluster(kinds, 16777216).nodes[0].nic == pytest.approx(4.0)


def test_efficiency_of_a_ratio_table() -> None:
    found = efficiency.from_ratios(RATIOS, "4Node-32GPU(NIC)")
    assert found.at(16777216) == pytest.approx(0.24)
    assert 0.24 < found.at(20000000) < 0.38
    with pytest.raises(ConfigError, match="no column"):
        efficiency.from_ratios(RATIOS, "5Node")


def test_what_is_no_efficiency() -> None:
    for sizes, shares in (((), ()), ((2, 1), (1.0, 1.0)), ((1, 2), (1.0, 0.0)), ((1,), (1.0, 1.0))):
        with pytest.raises(ConfigError, match=r"efficiency needs|above 0"):
            efficiency.Efficiency(sizes, shares)
