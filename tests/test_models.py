"""The shared-memory protocol as a model that SPIN checks in every order of steps, with a death before any of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

MODEL = Path(__file__).parent / "models" / "meeting.pml"
pytestmark = [
    pytest.mark.skipif(shutil.which("spin") is None, reason="SPIN is not installed (Debian's package spin)"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="SPIN's checkers are C programs, and gcc is not installed"),
]


def check(folder: Path, *defines: str) -> tuple[int, str]:
    """Return how many errors the checker has found, and all it printed."""
    flags = [f"-D{define}" for define in defines]
    subprocess.run(["spin", *flags, "-a", str(MODEL)], cwd=folder, check=True, capture_output=True, timeout=60)
    build = ["gcc", "-O2", "-w", "-DCOLLAPSE", "-DSAFETY", "-o", "pan", "pan.c"]
    subprocess.run(build, cwd=folder, check=True, timeout=120)
    done = subprocess.run(
        ["./pan", "-m200000", "-w22"], cwd=folder, check=True, capture_output=True, text=True, timeout=110
    )
    assert "max search depth too small" not in done.stdout, done.stdout
    errors = re.search(r"errors: (\d+)", done.stdout)
    assert errors, done.stdout
    return int(errors[1]), done.stdout


@pytest.mark.parametrize(
    "defines", [("N=2",), ("MEETINGS=2",), ("CROWDED", "N=2"), ("CROWDED", "MEETINGS=2")], ids=" ".join
)
def test_every_rank_ends_and_reads_what_was_written(tmp_path: Path, defines: tuple[str, ...]) -> None:
    errors, text = check(tmp_path, *defines)
    assert errors == 0, text


WRONG = [("CROWDED", "N=2", "BLAME_ONLY_WHO_HAS_NOT_COME"), ("N=2", "SLEEP_WITHOUT_A_LOOK")]


@pytest.mark.parametrize("defines", WRONG, ids=" ".join)
def test_a_protocol_that_is_wrong_is_found_out(tmp_path: Path, defines: tuple[str, ...]) -> None:
    errors, _ = check(tmp_path, *defines)
    assert errors > 0
