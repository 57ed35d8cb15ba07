"""A trace of which ranks' files are missing is not replayed as if it were whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pyccl.errors import ConfigError
from pyccl.sim import Cluster, replay
from pyccl.sim.cli import main
from pyccl.sim.formats.load import load
from tests.test_sim_scenario import GOOD

TRACES = Path(__file__).resolve().parent / "data" / "traces"
FOUR = Cluster.switch(hosts=4, nic="1 GB/s", latency="1 us")


@pytest.fixture
def four(tmp_path: Path) -> Path:
    for rank in range(4):
        shutil.copy(TRACES / f"all_reduce.{rank}.et", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ((0,), "the file of rank 0 is missing; that of 3 is there"),
        ((1, 2), "2 files are missing, those of ranks 1, 2; that of 3 is there"),
    ],
)
def test_files_between_others_are_named(four: Path, gone: tuple[int, ...], says: str) -> None:
    for rank in gone:
        (four / f"all_reduce.{rank}.et").unlink()
    with pytest.raises(ConfigError, match=says):
        load(four)


def test_a_far_rank_is_told_quickly(four: Path) -> None:
    shutil.copy(TRACES / "all_reduce.0.et", four / "all_reduce.999999999.et")
    with pytest.raises(ConfigError, match=r"999999995 files are missing, those of ranks 4, 5, .* …; that of 999999999"):
        load(four)


def test_a_message_shows_that_the_last_file_is_missing(tmp_path: Path) -> None:
    shutil.copytree(TRACES / "ring_8", tmp_path / "ring")
    last = next((tmp_path / "ring").glob("*.7.et"))
    last.unlink()
    with pytest.raises(ConfigError, match="there are files of ranks 0 to 6 only; add the file of rank 7"):
        load(tmp_path / "ring")


def test_the_last_file_leaves_no_sign_but_ranks_asks_for_it(
    four: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (four / "all_reduce.3.et").unlink()
    with pytest.raises(ConfigError, match="tells of 3 ranks, not 4: the files of ranks 3 to 3 are missing"):
        replay(four / "all_reduce.0.et", FOUR, ranks=4)
    assert replay(four / "all_reduce.0.et", FOUR, ranks=3).trace.size == 3
    (tmp_path / "c.toml").write_text(GOOD)
    command = ["replay", str(four / "all_reduce.0.et"), "--cluster", str(tmp_path / "c.toml")]
    assert main(command) == 0
    assert "note: there are files of ranks 0 to 2, and 4 devices" in capsys.readouterr().out
    assert main([*command, "--ranks", "3"]) == 0
    assert "note" not in capsys.readouterr().out
    assert main([*command, "--ranks", "4"]) == 2
    assert "the files of ranks 3 to 3 are missing" in capsys.readouterr().err


def test_a_device_is_no_trace() -> None:
    with pytest.raises(ConfigError, match="/dev/zero: cannot be read: it is no regular file"):
        load("/dev/zero")
