"""Short selections of the nemesis: no round may hang, compute wrongly, or leave anything; and nothing grows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import mpi
from tests.nemesis.script import FAULTS, TARGETS, draw
from tests.nemesis.start import Seen
from tests.nemesis.verdict import judge

DEADLINE = 110.0  # seconds; below pytest's own timeout
RANKS = 3
MIB = 1 << 20
SEED, ROUNDS = 1, 336


def nemesis(*arguments: object) -> dict[str, Any]:
    """Run the harness; return its figures."""
    command = [sys.executable, "-m", "tests.nemesis", "--json", *map(str, arguments)]
    done = subprocess.run(command, cwd=mpi.ROOT, capture_output=True, text=True, timeout=DEADLINE, check=False)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command)}\n{done.stdout[-20_000:]}\n{done.stderr[-4000:]}", pytrace=False)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def test_a_round_follows_from_its_seed() -> None:
    assert draw(7, 31, 4) == draw(7, 31, 4) != draw(8, 31, 4)
    assert type(draw(7, 31, 4)).load(draw(7, 31, 4).dump()) == draw(7, 31, 4)


def test_the_selection_has_twenty_points_of_every_operation_and_every_fault() -> None:
    scripts = [draw(SEED, number, 4) for number in range(ROUNDS)]
    points = {script.point for script in scripts}
    assert {name: sum(point[0] == name for point in points) >= 20 for name in TARGETS} == dict.fromkeys(TARGETS, True)
    assert {script.fault.kind for script in scripts} == set(FAULTS)


@pytest.mark.slow
@pytest.mark.parametrize("half", [0, 1])
def test_ranks_of_one_node(half: int) -> None:
    figures = nemesis("--seed", SEED, "--first", half * ROUNDS // 2, "--rounds", ROUNDS // 2)
    assert figures["rounds"] == ROUNDS // 2


@pytest.mark.mpi
@pytest.mark.slow
def test_ranks_of_mpi() -> None:
    figures = nemesis("--seed", 5, "--rounds", 30, "--mpi", mpi.launcher().mpi, "--seconds", 60)
    assert figures["rounds"] >= 5


def test_the_judge_sees_what_is_wrong() -> None:
    script = next(s for s in (draw(1, n, 2, ["kill"]) for n in range(9)) if s.fault.victim == 1)

    def verdict(*more: dict[str, Any], stacks: str = "") -> str:
        good = {"event": "error", "at": 10.5, "step": 0, "kind": "PeerLost", "rank": 1, "text": "", "changed": False}
        later = {"event": "later", "kinds": ["PeerLost"], "seconds": 1e-5}
        begun, ended = {"event": "begun"}, {"event": "ended", "at": 10.9, "code": 0}
        events = {e["event"]: e for e in (begun, good, later, ended, *more)}
        victim = [begun, {"event": "ended", "at": 10.0, "code": -9}]
        return " ".join(judge(script, Seen([list(events.values()), victim], stacks)))

    assert verdict() == ""
    error = {"event": "error", "at": 10.5, "step": 0, "kind": "PeerLost", "rank": 1, "text": "", "changed": False}
    assert "hang" in verdict(stacks="rank 0: …")
    assert "names rank 0" in verdict({**error, "rank": 0})
    assert "raised Timeout" in verdict({**error, "kind": "Timeout"})
    assert "after 2.6" in verdict({**error, "at": 12.6})
    assert "changed its input" in verdict({**error, "changed": True})
    assert "wrong number" in verdict({"event": "ok", "step": 0, "wrong": "1 of 3", "changed": False})
    assert "later" in verdict({"event": "later", "kinds": ["none"], "seconds": 1e-5})
    assert "later" in verdict({"event": "later", "kinds": ["PeerLost"], "seconds": 0.1})


@pytest.mark.slow
def test_nothing_grows(tmp_path: Path) -> None:
    """10,000 operations, then 200 communicators, splits, arrays and registrations."""
    environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.nemesis.soak", str(tmp_path)]
    ranks = [
        subprocess.Popen([*command, str(rank), str(RANKS)], cwd=mpi.ROOT, env=environ, stdout=subprocess.PIPE)
        for rank in range(RANKS)
    ]
    try:
        outputs = [rank.communicate(timeout=DEADLINE)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    for output in outputs:
        for what, grown in json.loads(output).items():
            assert grown.pop("bytes") < MIB, what
            assert set(grown.values()) == {0}, (what, grown)
