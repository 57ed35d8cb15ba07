"""Damaged traces meet a ConfigError, and nothing else, in readers and in the replay; `--fuzz-seconds 60` is longer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pyccl.errors import ConfigError
from pyccl.sim import Cluster, LogGP, calibration, replay, step_traces, validate
from pyccl.sim.formats import chakra, goal, kineto, layers, msccl, nccl_tests
from pyccl.sim.trace import Trace
from tests import fuzz

DATA = Path(__file__).parent / "data" / "traces"


def replayed(reader: Callable[[Path], Trace], path: Path) -> None:
    """What is read is also replayed, on a network and without one, checked before or not."""
    trace = reader(path)
    if trace.size <= 64:
        cluster = Cluster.fat_tree(hosts=trace.size, nic="10 GB/s", latency="1 us", hosts_per_leaf=4)
        replay(trace, cluster, most_events=10**6, most_memory="64 MiB")
    replay(trace, loggp=LogGP(L="1 us", g="1 us"), measured=True, most_events=10**6, most_memory="64 MiB")
    trace.topological_check()


CASES: list[tuple[str, Callable[[Path], object], list[str]]] = [
    ("x.0.et", partial(replayed, chakra.read), ["all_reduce.0.et"]),
    ("x.goal", partial(replayed, goal.read), ["pingpong.goal"]),
    ("x.json", partial(replayed, kineto.read), ["step.rank0.json"]),
    ("x.txt", partial(replayed, layers.read), ["microAllReduce.txt"]),
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
