"""`--collective ps`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json

import pytest

from pyccl.bench.figures import figure
from pyccl.bench.options import SERVER_SIZES, UsageError, parse
from tests import mpi


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [1, 4])
def test_every_figure_is_printed_written_and_right(tmp_path, ranks):
    path = tmp_path / "ps.json"
    flags = ["--collective", "ps", "--sizes", "64K", "--rows", "5000", "--iters", "2", "--json", str(path)]
    done = mpi.mpirun(["-m", "pyccl.bench", *flags], ranks, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(path.read_text())["rows"]
    assert {row["case"] for row in rows} == ({"sync"} if ranks == 1 else {"sync", "async", "sparse", "small"})
    for row in rows:
        assert row["collective"] == "ps"
        assert row["wrong"] == 0
        assert row["low"] <= row["median"] <= row["high"]
        assert row["what"] in done.stdout


@pytest.mark.parametrize(
    "flags", [["--plot", "x.png"], ["--model", "gpt2"], ["--tune", "x.json"], ["--calibrate", "x.toml"]]
)
def test_what_has_no_meaning_here_is_refused(flags, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="--collective ps takes no"):
        parse(["--collective", "ps", *flags])


def test_its_sizes_are_its_own_and_it_stands_alone():
    assert parse(["--collective", "ps"]).sizes == SERVER_SIZES
    assert parse(["--collective", "ps", "--sizes", "8K"]).sizes == (8192,)
    assert "ps" not in parse([]).collectives
    with pytest.raises(UsageError, match="unknown 'ps'"):
        parse(["--collective", "ps,all_reduce"])


def test_a_figure_is_a_median_with_its_spread():
    made = figure("sync", "push_pull", 1024, 2, "s", [3e-3, 1e-3, 2e-3], wrong=4)
    assert (made.median, made.low, made.high, made.rounds, made.wrong) == (2e-3, 1e-3, 3e-3, 3, 4)
    assert "2.000 ms   (1.000 … 3.000)" in made.line()
