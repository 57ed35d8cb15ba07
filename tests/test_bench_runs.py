"""The benchmark as users start it: under mpirun, with a faulty pyccl, and each of its modes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tomlkit

from pyccl.bench import models, observed
from pyccl.bench.cases import NAMES
from pyccl.sim import calibration
from tests import mpi

FAKE = Path(__file__).with_name("fake_pyccl.py")


def mpirun(ranks: int, *flags: str, **environ: str) -> mpi.Run:
    return mpi.mpirun([str(FAKE), *flags], ranks, env=environ, check=False)


@pytest.mark.mpi
def test_a_run_of_two_ranks_prints_writes_and_succeeds(tmp_path):
    path = tmp_path / "x.json"
    done = mpirun(2, "--sizes", "8,64K", "--iters", "3", "--dtype", "float32,bfloat16", "--json", str(path))
    assert done.returncode == 0, done.stderr
    rows = json.loads(path.read_text())["rows"]
    assert {entry["collective"] for entry in rows} == set(NAMES)
    assert not any(entry["wrong"] for entry in rows)
    assert "wrong elements in total: 0" in done.stdout
    reduced_bfloat16 = [r for r in rows if r["dtype"] == "bfloat16" and r["op"] == "sum"]
    assert all(entry["baseline_s"] is None for entry in reduced_bfloat16)


@pytest.mark.mpi
def test_stale_results_are_counted_and_fail_the_run():
    done = mpirun(2, "--sizes", "64K", "--collective", "all_gather", "--iters", "5", PYCCL_FAKE_FAULT="stale")
    assert done.returncode == 1
    assert "wrong elements in total: 0" not in done.stdout


@pytest.mark.mpi
def test_a_rank_that_raises_ends_the_others():
    done = mpirun(3, "--sizes", "64K", "--collective", "all_reduce", PYCCL_FAKE_FAULT="raise")
    assert done.returncode != 0
    assert done.stderr.count("RuntimeError: the fault that was asked for") == 1


@pytest.mark.mpi
def test_a_bad_flag_is_one_line_and_status_2():
    done = mpirun(2, "--op", "median")
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if "pyccl.bench: error" in line][1:] == []


@pytest.mark.mpi
def test_a_model_is_timed_at_every_granularity(tmp_path):
    done = mpirun(1, "--model", "resnet50", "--iters", "1", "--json", str(tmp_path / "m.json"))
    assert done.returncode == 0, done
    rows = json.loads((tmp_path / "m.json").read_text())["rows"]
    assert [entry["bucket_bytes"] for entry in rows] == [None, 25 << 20, 1 << 20, 4 << 20, 64 << 20]
    assert [entry["calls"] for entry in rows][:2] == [161, 5]
    assert {entry["bytes"] for entry in rows} == {4 * models.PARAMETERS["resnet50"]}


@pytest.mark.mpi
def test_tune_writes_thresholds(tmp_path):
    path = tmp_path / "t.json"
    done = mpirun(2, "--tune", str(path), "--collective", "all_reduce", "--sizes", "8", "--iters", "3")
    assert done.returncode == 0, done
    assert set(json.loads(path.read_text())["thresholds"]) == {"all_reduce"}


@pytest.mark.mpi
def test_calibrate_writes_a_cost_model(tmp_path):
    path = tmp_path / "c.toml"
    done = mpirun(3, "--calibrate", str(path), "--sizes", "8,4K,1M", "--budget", "1")
    assert done.returncode == 0, done
    transport = tomlkit.parse(path.read_text())["transport"]
    assert {"alpha", "beta", "gamma", "efficiency", "fit_median_error"} <= set(transport["shm"])
    assert transport["mpi"]["beta"] > 0
    known = calibration.load(path)
    assert {(row.collective, row.ranks) for row in known.observed} == {(kind, 2) for kind in observed.KINDS}
    assert known.seconds("all_reduce", 2, 1 << 20) > known.seconds("all_reduce", 2, 64) > 0
