"""What the benchmark prints, writes and draws, which flags it takes, and what it refuses."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pyccl.bench import options, table, tune
from pyccl.bench.buffers import OutOfMemoryError, needed, require
from pyccl.bench.cases import NAMES
from pyccl.bench.report import Row, write_json


def row(**changes) -> Row:
    base = Row(
        collective="all_reduce", algorithm="auto", dtype="float32", op="sum", bytes=1 << 20, count=1 << 18, root=-1,
        ranks=8, nodes=1, registered=False, in_place=False, time_s=1e-3, p99_s=2e-3, iterations=100, algbw=1.048576e9,
        busbw=1.835008e9, wrong=0, baseline_s=2e-3,
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


def test_table_columns_line_up():
    lines = [*table.head("MPICH 5.0.2").splitlines(), table.line(row()), table.line(row(baseline_s=None, wrong=3))]
    assert len({len(line) for line in lines if line.endswith(("x", "–", "speed-up"))}) == 1
    assert lines[2].split() == [
        "all_reduce",
        "1048576",
        "262144",
        "float32",
        "sum",
        "-1",
        "1000",
        "2000",
        "1.05",
        "1.84",
        "0",
        "2000",
        "2x",
    ]
    assert lines[3].split()[-3:] == ["3", "–", "–"]


def test_summary_adds_errors_and_spans_speedups():
    rows = [row(), row(bytes=8, time_s=1e-5, baseline_s=6e-3, wrong=2), row(collective="broadcast", baseline_s=None)]
    text = table.summary(rows, "MPICH 5.0.2").splitlines()
    assert "10.0 us" in text[2]
    assert "2x … 600x" in text[2]
    assert text[3].split()[-2] == "–"
    assert text[-1].endswith("wrong elements in total: 2")


def test_json_has_the_promised_fields(tmp_path):
    write_json(tmp_path / "x.json", {"ranks": 8}, [row(), row(baseline_s=None)])
    document = json.loads((tmp_path / "x.json").read_text())
    promised = {
        "collective", "algorithm", "dtype", "op", "bytes", "ranks", "nodes", "registered", "time_s", "p99_s", "algbw",
        "busbw", "wrong", "baseline_s",
    }  # fmt: skip
    assert document["environment"] == {"ranks": 8}
    assert all(promised <= set(entry) for entry in document["rows"])
    assert document["rows"][1]["baseline_s"] is None


def test_thresholds_change_between_sizes_and_stick_within_noise():
    times = {
        8: {"flat": 1.0, "ring": 2.0},
        512: {"flat": 1.0, "ring": 0.99},
        32768: {"flat": 4.0, "ring": 2.0},
    }
    assert tune.choose(times) == [(4096, "flat"), (None, "ring")]


def test_threshold_file_is_what_tuning_reads_and_keeps_other_situations(tmp_path):
    from pyccl.tuning import Tuning

    path = tmp_path / "t.json"
    tune.write_table(path, {"version": 1, "machine": "m", "registered": {"broadcast": [(None, "direct")]}})
    tune.write_table(path, {"version": 1, "machine": "m", "thresholds": {"all_reduce": [(64, "tree"), (None, "ring")]}})
    table = Tuning.load(path)
    assert [name for _, name in table.thresholds["all_reduce"]] == ["tree", "ring"]
    assert [name for _, name in table.registered["broadcast"]] == ["direct"]


@pytest.mark.parametrize(
    "flags",
    [
        "--bogus", "--min 1M --max 8", "--op band", "--dtype int32 --op avg", "--sizes 3x", "--collective foo",
        "--iters 0", "--timeout -1", "--model resnet50 --tune", "--model alexnet", "--json /nonexistent/x.json",
        "--sizes 0", "--tune --json x.json", "--model gpt2 --plot x.png",
        "--plot x.bmp",
    ],
)  # fmt: skip
def test_bad_flags_are_refused(flags):
    with pytest.raises(options.UsageError):
        options.parse(flags.split())


def test_flags_are_understood():
    parsed = options.parse(["--collective", "all_reduce,barrier", "--min", "1K", "--max", "1M", "--op", "avg"])
    assert parsed.collectives == ("all_reduce", "barrier")
    assert (parsed.sizes[0], parsed.sizes[-1]) == (1 << 10, 1 << 20)
    assert options.parse([]).collectives == NAMES


class Solo:
    """What `require` needs of a world of four ranks on one node."""

    class mpi:  # noqa: N801
        @staticmethod
        def allgather(value):
            return [value] * 4

    class comm:  # noqa: N801
        nodes = (0, 0, 0, 0)


def test_refuses_what_would_not_fit():
    per_rank = needed(1 << 30, registered=False)
    require(Solo, per_rank, lambda: 5 * per_rank)
    with pytest.raises(OutOfMemoryError, match=r"needs 12\.25 GiB on node 0 \(4 ranks"):
        require(Solo, per_rank, lambda: 4 * per_rank)


def test_plot_draws_every_group(tmp_path):
    pytest.importorskip("matplotlib")
    from pyccl.bench.plot import write_plot

    rows = [row(bytes=8 << k, collective=kind) for k in range(5) for kind in ("all_reduce", "all_gather", "scatter")]
    environment = {"pyccl": "0", "mpi_library": "MPICH 5.0.2", "ranks": 8, "nodes": 1, "cpu": "c", "cores": 2}
    write_plot(tmp_path / "x.png", rows, environment)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
