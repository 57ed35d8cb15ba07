"""Every reader of traces meets damaged files with a ConfigError, and nothing else; `--fuzz-seconds 60` is longer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pyccl.errors import ConfigError
from pyccl.sim import calibration, step_traces, validate
from pyccl.sim.formats import chakra, goal, kineto, layers, msccl, nccl_tests
from pyccl.sim.trace import Trace
from tests import fuzz

DATA = Path(__file__).parent / "data" / "traces"


def checked(reader: Callable[[Path], Trace], path: Path) -> None:
    reader(path).topological_check()


CASES: list[tuple[str, Callable[[Path], object], list[str]]] = [
    ("x.0.et", partial(checked, chakra.read), ["all_reduce.0.et"]),
    ("x.goal", partial(checked, goal.read), ["pingpong.goal"]),
    ("x.json", partial(checked, kineto.read), ["step.rank0.json"]),
    ("x.txt", partial(checked, layers.read), ["microAllReduce.txt"]),
    ("x.xml", msccl.read, ["ring8.xml"]),
    ("all_reduce_perf.txt", nccl_tests.read, ["all_reduce_perf.txt"]),
    ("x.csv", nccl_tests.read_ratios, ["nic_ratio.csv"]),
    ("placements.csv", step_traces.read_placements, ["placements.csv"]),
    ("scalability.csv", step_traces.read_scalability, ["scalability.csv"]),
    ("here.toml", calibration.load, ["here.toml"]),
    ("links.json", validate.validate_links, ["links.json"]),
]


@pytest.mark.parametrize(("name", "reader", "seeds"), CASES, ids=[case[0] for case in CASES])
def test_reader(
    name: str, reader: Callable[[Path], object], seeds: list[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    def take(data: bytes) -> None:
        (tmp_path / name).write_bytes(data)
        reader(tmp_path / name)

    good = [(DATA / seed).read_bytes() for seed in seeds]
    fuzz.run(good, take, (ConfigError,), float(request.config.getoption("--fuzz-seconds")))
