"""`python -m pyccl.sim`: every command, its files, its exit status, and one line for bad input."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyccl.sim.cli import main
from pyccl.sim.cli.options import make_parser
from tests.test_sim_scenario import GOOD
from tests.test_sim_validate import TRUTH, write_model

ROOT = Path(__file__).resolve().parents[1]
TRACES = ROOT / "tests" / "data" / "traces"


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    (tmp_path / "s.toml").write_text(GOOD)
    return str(tmp_path / "s.toml")


def test_run_writes_what_is_asked_for(scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ends = {"--json": "json", "--csv": "csv", "--trace": "trace.json", "--plot": "png", "--html": "html"}
    out = {flag: tmp_path / f"out.{end}" for flag, end in ends.items()}
    flags = [part for flag, path in out.items() for part in (flag, str(path))]
    assert main(["run", scenario, "--steps", "3", "--seed", "5", *flags]) == 0
    content = json.loads(out["--json"].read_text())
    assert (content["steps"], content["seed"]) == (3, 5)
    assert all(path.stat().st_size for path in out.values())
    said = capsys.readouterr()
    assert "Limited by computing" in said.out
    assert not said.err


def test_strategies_meet_the_same_random_numbers(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = "fake(jitter=true),fake(jitter=true, extra=0.5),fake(stale=2)"
    paths = {flag: tmp_path / f"out.{flag}" for flag in ("json", "csv", "png")}
    flags = ["--json", str(paths["json"]), "--csv", str(paths["csv"]), "--plot", str(paths["png"])]
    assert main(["compare", scenario, "--strategies", names, *flags]) == 0
    one, two, _ = json.loads(paths["json"].read_text())["results"]
    assert (two["makespan_s"] - 4) == pytest.approx(2 * (one["makespan_s"] - 4))  # the same draws, twice the weight
    assert paths["csv"].read_text().count("\n") == 4
    assert "fake(stale=2)" in capsys.readouterr().out


def test_plan_prints_the_pareto_set(scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [
        "--deadline",
        "24 h",
        "--budget",
        "5000 USD",
        "--json",
        str(tmp_path / "p.json"),
        "--plot",
        str(tmp_path / "p.png"),
    ]
    assert main(["plan", scenario, *flags]) == 0
    assert json.loads((tmp_path / "p.json").read_text())["deadline_s"] == 86400
    said = capsys.readouterr().out
    assert "the Pareto set of 2 configurations" in said
    assert "what moves the answer" in said


@pytest.mark.parametrize("trace", ["all_reduce.0.et", "pingpong.goal", "microAllReduce.txt", "step.rank0.json"])
def test_replay_of_every_format(trace: str, scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.toml").write_text(Path(scenario).read_text().replace("hosts = 4", "hosts = 16"))
    out, spans = tmp_path / "out.json", tmp_path / "spans.json"
    flags = ["--cluster", str(tmp_path / "c.toml"), "--json", str(out), "--trace", str(spans)]
    assert main(["replay", str(TRACES / trace), *flags]) == 0, capsys.readouterr().err
    content = json.loads(out.read_text())
    assert content["compute_s"] + content["communication_s"] + content["idle_s"] == pytest.approx(content["time_s"])
    assert sum(content["critical_path_s"].values()) == pytest.approx(content["time_s"])
    assert json.loads(spans.read_text())["traceEvents"]
    if trace.endswith(".et"):
        assert main(["replay", str(TRACES / trace), *flags, "--replicate", "8", "--algorithm", "ring"]) == 0
        assert json.loads(out.read_text())["ranks"] == 8


def test_validate_prints_a_table_of_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path / "in" / "net", TRUTH)
    out, picture = tmp_path / "out.json", tmp_path / "out.png"
    assert main(["validate", "--traces", str(tmp_path / "in"), "--json", str(out), "--plot", str(picture)]) == 0
    assert json.loads(out.read_text())["models"][0]["name"] == "net"
    assert picture.stat().st_size
    assert "Mean error over all rows" in capsys.readouterr().out
    kept = sorted((ROOT / "benchmarks" / "results").glob("*-calibration.toml"))
    assert main(["validate", str(kept[-1])]) == 0
    assert "8 ranks" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "missing.toml"], "No such file"),
        (["run"], "scenario.toml"),
        (["rnu"], "invalid choice"),
        (["run", "{s}", "--steps", "0"], "at least 1"),
        (["run", "{s}", "--strategy", "sssp:3"], "has no 'sssp'"),
        (["run", "{s}", "--plot", "x.xyz"], "must end in one of"),
        (["run", "{s}", "--json", "/nowhere/x.json"], "cannot be written"),
        (["compare", "{s}", "--strategies", "fake,fke"], "did you mean 'fake'"),
        (["plan", "{s}", "--deadline", "24"], "has no unit"),
        (["plan", "{s}", "--budget", "5 EUR"], "is no unit of a money"),
        (["replay", "missing.et", "--cluster", "{s}"], "missing.et"),
        (["validate"], "--traces"),
        (["validate", "missing.toml"], "missing.toml"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], says: str, scenario: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([part.replace("{s}", scenario) for part in arguments]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.count("\n") == 1
    assert not said.out


def test_every_command_has_help_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ([], ["run"], ["compare"], ["plan"], ["replay"], ["validate"]):
        with pytest.raises(SystemExit) as ended:
            make_parser().parse_args([*command, "--help"])
        assert ended.value.code == 0
        assert "examples:" in capsys.readouterr().out


def start(*arguments: str, program: str = "", **options: object) -> subprocess.Popen[str]:
    code = f"import sys; import tests.training; {program}\nfrom pyccl.sim.cli import main; sys.exit(main(sys.argv[1:]))"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env=environ, text=True, **options)  # type: ignore[call-overload,no-any-return]


def test_control_c_ends_quietly(scenario: str) -> None:
    slow = "import time; tests.training.Fake.run = lambda self, job: (print('on', flush=True), time.sleep(60))"
    with start("run", scenario, program=slow, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=20)
    assert process.returncode == 130
    assert error == ""


def test_a_reader_that_leaves_is_no_error(scenario: str) -> None:
    with start("run", scenario, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 0


def test_progress_is_shown_on_a_terminal_only(scenario: str) -> None:
    ours, theirs = pty.openpty()
    slow = "import time; fast = tests.training.Fake.run\ndef slow(*a): time.sleep(0.5); return fast(*a)\n"
    slow += "tests.training.Fake.run = slow"
    with start("run", scenario, program=slow, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        shown, end = b"", time.monotonic() + 60
        while time.monotonic() < end:
            try:
                shown += os.read(ours, 4096)
            except OSError:
                break
        assert process.wait(timeout=20) == 0
    os.close(ours)
    assert b"simulating" in shown
