"""Scenario files: read, written, refused with the line and what to write instead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pyccl.errors import ConfigError
from pyccl.sim.scenario import Scenario
from tests import training

GOOD = """\
# A comment.
[cluster]
topology = "switch"
hosts = 4
nic = "10 GB/s"
latency = "1 us"

[model]
layers = [
    { name = "a", forward = "100 ms", backward = "200 ms", nbytes = "1 MB" },
    { name = "b", forward = "300 ms", backward = "400 ms", nbytes = "2 MB" },
]
batch = 10

[workers]
compute = "lognormal(cv=0.1)"
slow = { 3 = 2.0 }

[training]
strategy = "fake(extra=0.5)"
steps = 4
seed = 7

[plan]
samples = 1000
workers = [4, 8]
deadline = "2 h"
"""


def load(tmp_path: Path, text: str) -> Scenario:
    (tmp_path / "s.toml").write_text(text)
    return Scenario.load(tmp_path / "s.toml")


def test_a_scenario_is_read_and_run(tmp_path: Path) -> None:
    scenario = load(tmp_path, GOOD)
    assert (scenario.cluster.size, scenario.model.nbytes, scenario.steps, scenario.seed) == (4, 3_000_000, 4, 7)
    assert scenario.plan == {"samples": 1000, "workers": [4, 8], "deadline": 7200.0}
    result = scenario.run()
    assert result.job.steps == 4
    assert result.job.seed == 7
    assert scenario.run("fake", steps=2, seed=1).job.steps == 2


def test_a_scenario_is_written_as_it_is_read(tmp_path: Path) -> None:
    scenario = load(tmp_path, GOOD)
    again = load(tmp_path, scenario.to_toml())
    assert again == scenario


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("[workers]", "[worker]", 15, "a scenario has no 'worker'; did you mean 'workers'?"),
        ("hosts = 4", "host = 4", 4, "did you mean 'hosts'"),
        ("hosts = 4", "hosts = 99999999", 4, "at most 4194304"),
        ("hosts = 4", "hosts = 4000000\ngpus_per_host = 2", 5, "at most 4194304"),
        ('nic = "10 GB/s"', "nic = 10e9", 5, "write for example '200 Gbit/s'"),
        ('nic = "10 GB/s"', 'nic = "0 GB/s"', 5, "must be above 0"),
        ("batch = 10", "batch = 0", 13, "batch must be a whole number"),
        ('"100 ms"', "0.1", 10, "has no unit"),
        ('forward = "100 ms"', 'fwd = "100 ms"', 10, "has no 'fwd'; did you mean 'forward'"),
        ("slow = { 3 = 2.0 }", "slow = { 4 = 2.0 }", 17, "rank 4 is not in [0, 4)"),
        ("slow = { 3 = 2.0 }", "slow = { three = 2.0 }", 17, "is no rank"),
        ("slow = { 3 = 2.0 }", "slow = { 3 = -2.0 }", 17, "above 0"),
        ("lognormal", "lognorml", 16, "lognormal"),
        ("strategy =", "strateg =", 20, "did you mean 'strategy'"),
        ("fake(extra=0.5)", "fake(extr=0.5)", 20, "did you mean 'extra'"),
        ("steps = 4", "steps = 4.5", 21, "whole number of at least 1"),
        ("steps = 4", "steps = 1000000000", 21, "at most"),
        ("seed = 7", "seed = -7", 22, "at least 0"),
        ("samples = 1000", "epochs = 3", 25, "needs dataset"),
        ("samples = 1000", "samples = 1\nnoise = 3\nleast_steps = 4", 26, "either samples or noise"),
        ('deadline = "2 h"', "deadline = 2", 27, "write for example"),
        ("[plan]", "[[plan]]", 24, "plan must be a section: write [plan]"),
        ("[plan]", '[plan]\nstrategies = ["fke"]', 25, "did you mean 'fake'"),
        ("[training]", "[training]\nx = [", 21, "not TOML"),
    ],
)  # fmt: skip
def test_bad_input(tmp_path: Path, old: str, new: str, line: int, says: str) -> None:
    text = GOOD.replace(old, new, 1)
    assert text != GOOD
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert re.search(rf"s\.toml:{line}: .*{re.escape(says)}", str(caught.value)), caught.value


@pytest.mark.parametrize("section", ["cluster", "model", "training"])
def test_what_is_missing(tmp_path: Path, section: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"no section [{section}]; add one")):
        load(tmp_path, re.sub(rf"\[{section}\].*?\n\n", "", GOOD, flags=re.DOTALL))


def test_a_file_of_empty_lines_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no section"):
        load(tmp_path, "\n" * (1 << 20))
    with pytest.raises(ConfigError, match="a scenario has no 'x'"):
        load(tmp_path, "\n" * (1 << 19) + "[x]" + " \n" * (1 << 17))


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="longer than 1048576 bytes"):
        load(tmp_path, GOOD + "#" * (1 << 21))


def test_the_fake_strategy_is_what_the_tests_think() -> None:
    assert training.Fake().extra == 0.25


RUNS = GOOD.replace("hosts = 4", "hosts = 8").replace("seed = 7\n", "")


@pytest.mark.parametrize(
    ("strategy", "says"),
    [
        ("backup:99", "needs more than 99 workers, got 7; write at most 6"),
        ("tensor:3", "must divide the 8 devices, got 3; write tensor:2 or 4"),
        ("1f1b(stages=2, ways=3)", "got 2 times 3; write a product of 4 or 8"),
        ("fedavg:50", "there are 7 clients; write k of at most 7"),
        ("fedavg(k=2, sampled=9)", "write at most 7 at once"),
        ("ps_sync(servers=9)", "leave no worker on 8 devices; write at most 7"),
        ("ps_sync(replicas=1)", "write servers=2, or fewer replicas"),
        ("softsync:9", "write n of at most 7"),
        ("k_async:9", "write k of at most 7"),
        ("interleaved:9", "use at most 2"),
    ],
)
def test_a_strategy_that_does_not_suit_the_cluster_is_told_at_its_line(
    tmp_path: Path, strategy: str, says: str
) -> None:
    scenario = load(tmp_path, RUNS.replace("fake(extra=0.5)", strategy))
    with pytest.raises(ConfigError, match=rf"s\.toml:20: .*{re.escape(says)}"):
        scenario.run()
    with pytest.raises(ConfigError, match=re.escape(says)) as caught:
        load(tmp_path, RUNS).run(strategy)  # not the file's
    assert "s.toml" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "line", "says"),
    [
        ('mtbf = "1 ns"', 30, r"write mtbf = '.* s' or more"),
        ('mtbf = "1 h"\nnode_mtbf = "1 ns"', 31, "write node_mtbf = "),
        ('mtbf = "9 s"\n[recovery]\npolicy = "shrink"', 29, "after .* no worker is left; give repair"),
    ],
)
def test_too_many_failures_are_told_at_their_line(tmp_path: Path, more: str, line: int, says: str) -> None:
    scenario = load(tmp_path, GOOD + f"\n[failures]\n{more}\n")
    with pytest.raises(ConfigError, match=rf"s\.toml:{line}: .*{says}"):
        scenario.run(steps=1000)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\n\n\xff", r":3: byte 0xff is no UTF-8"),
        (b"[cluster]\nx = 1\n[cluster", r":3: not TOML"),
        (b"[cluster]\nx = 1\n\n\n", r":2: no section .model."),
        (GOOD.replace("seed = 7", f"seed = {1 << 64}").encode(), r":22: seed must be at most 2\^64 - 1"),
    ],
)
def test_a_file_that_is_wrong_as_a_whole_has_a_line(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "s.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"s\.toml{says}"):
        Scenario.load(tmp_path / "s.toml")


def test_failures_that_are_told_before_and_not_exponential(tmp_path: Path) -> None:
    section = '\n[failures]\nmtbf = "1000 h"\nshape = 0.7\npreemption = "20 h"\nnotice = "2 min"\n'
    workers = load(tmp_path, GOOD + section).workers
    assert workers is not None
    assert (workers.shape, workers.notice) == (0.7, 120.0)
    with pytest.raises(ConfigError, match=r"s\.toml:31: shape must be a number from"):
        load(tmp_path, GOOD + section.replace("0.7", "0.01"))
