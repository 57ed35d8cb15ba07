"""Damaged scenarios and strategies' texts are ConfigErrors, and nothing else, in bounded time and memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyccl.errors import ConfigError
from pyccl.sim import Scenario
from pyccl.sim.strategies import parse, text
from tests import fuzz

SCENARIOS = Path(__file__).parents[1] / "docs" / "examples" / "scenarios"


def test_scenarios(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    def take(data: bytes) -> None:
        (tmp_path / "s.toml").write_bytes(data)
        Scenario.load(tmp_path / "s.toml")

    small = [path for path in SCENARIOS.glob("*.toml") if path.stem not in ("fedavg_wan", "llama3_failures")]
    good = [path.read_bytes() for path in sorted(small)]
    fuzz.run(good, take, (ConfigError,), float(request.config.getoption("--fuzz-seconds")))


def test_strategies(request: pytest.FixtureRequest) -> None:
    def take(data: bytes) -> None:
        found = parse(data.decode("utf-8", "replace"))
        assert parse(text(found)) == found

    good = [b"ring", b"ssp:3(servers=2)", b"ring(bucket='25 MiB', overlap=true)", b"1f1b(stages=4)"]
    fuzz.run(good, take, (ConfigError,), float(request.config.getoption("--fuzz-seconds")))
