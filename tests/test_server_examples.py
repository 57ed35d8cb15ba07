"""The examples of the parameter server reach what they show: accuracy, a picture, survival of a killed server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import mpi

EXAMPLES = mpi.ROOT / "docs" / "examples"
SURVIVAL = {"mpich": ["-disable-auto-cleanup"], "openmpi": ["--with-ft", "ulfm"]}
PNG = b"\x89PNG\r\n\x1a\n"

pytest.importorskip("sklearn")
pytest.importorskip("pandas")
pytest.importorskip("matplotlib")


def digits(arguments: list[str], ranks: int, picture: Path, *, kill: int | None = None) -> tuple[str, list[float]]:
    """Return what was printed, and every run's accuracy in percent."""
    program = [str(EXAMPLES / "parameter_server.py"), "--plot", str(picture), *arguments]
    flags: list[str] = []
    if kill is not None:
        program = ["-m", "pyccl.launch", *program, "--kill", str(kill)]
        flags = SURVIVAL[mpi.launcher().mpi]
    run = mpi.mpirun(program, ranks, flags=flags, check=kill is None)
    if kill is not None:
        assert run.returncode == 0, run
    return run.stdout, [float(found) for found in re.findall(r"accuracy ([\d.]+)%", run.stdout)]


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [1, 3])
def test_digits_are_learned_in_every_way(ranks: int, tmp_path: Path) -> None:
    out, accuracies = digits(["--epochs", "4", "--jitter", "0"], ranks, tmp_path / "loss.png")
    assert re.findall(r"^(\w+)", out, re.MULTILINE) == ["ring", "Sync", "Async", "SSP"], out
    assert min(accuracies) > 93, out
    assert accuracies[0] == accuracies[1], "Sync is the mean of all gradients, as all_reduce's"
    assert (tmp_path / "loss.png").read_bytes().startswith(PNG)


@pytest.mark.mpi
@pytest.mark.parametrize("victim", [0, 2])
def test_digits_are_learned_though_a_server_is_killed(victim: int, tmp_path: Path) -> None:
    out, accuracies = digits(["--epochs", "4", "--jitter", "0"], 4, tmp_path / "loss.png", kill=victim)
    assert f"rank {victim} was killed; its shard was taken over, and 3 ranks went on" in out
    assert len(accuracies) == 4
    assert min(accuracies) > 93, out


@pytest.mark.mpi
def test_flight_times_are_learned_from_categories(tmp_path: Path) -> None:
    picture = tmp_path / "error.png"
    run = mpi.mpirun([str(EXAMPLES / "embeddings.py"), "--flights", "20000", "--plot", str(picture)], 3)
    found = re.search(r"flights: ([\d.]+) minutes; of their mean: ([\d.]+)", run.stdout)
    assert found is not None, run
    assert 5 * float(found[1]) < float(found[2]), run
    assert picture.read_bytes().startswith(PNG)


@pytest.mark.parametrize("name", ["parameter_server.py", "embeddings.py"])
def test_help_shows_examples(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), "--help"], cwd=mpi.ROOT, capture_output=True, text=True, timeout=60,
        check=True, env={**os.environ, "PYTHONPATH": str(mpi.ROOT)},
    )  # fmt: skip
    assert f"python docs/examples/{name} --plot" in done.stdout
