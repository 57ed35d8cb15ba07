"""Every parser and every header meets damaged input with the error that its documentation names, and nothing else.

`--fuzz-seconds 60` makes it longer.
"""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pyccl import _core, config
from pyccl.algorithms import build
from pyccl.bench.options import UsageError, parse
from pyccl.bench.units import parse_size
from pyccl.collectives import COLLECTIVES
from pyccl.errors import ConfigError
from pyccl.flight import FlightRecord
from pyccl.trace import read_file
from pyccl.trace.chrome import chrome_trace
from pyccl.trace.format import Header
from pyccl.trace.merge import merge
from pyccl.tuning import Tuning
from tests import fuzz

SHIPPED = Path(_core.__file__ or "").with_name("tuning.json")


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption("--fuzz-seconds"))


def test_tuning_tables(tmp_path: Path, seconds: float) -> None:
    def load(data: bytes) -> None:
        path = tmp_path / "table.json"
        path.write_bytes(data)
        Tuning.load(path)

    fuzz.run([SHIPPED.read_bytes(), b'{"version": 1}'], load, (ConfigError,), seconds)


def test_environment_variables(seconds: float) -> None:
    def load(data: bytes) -> None:
        lines = [line.partition("=") for line in data.decode("utf-8", "surrogateescape").split("\n")]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config.load({name: value for name, _, value in lines})

    seeds = [f"{row.name}={row.default}".encode() for row in config.variables().values()]
    seeds += [b"PYCCL_ALGORITHM=all_reduce=ring,broadcast=binomial\nPYCCL_TIMEOUT=1e3\nPYCCL_NODE_SIZE=2"]
    fuzz.run([b"\n".join(seeds), seeds[-1]], load, (ConfigError,), seconds)


def test_command_lines(seconds: float) -> None:
    def read(data: bytes) -> None:
        parse(data.decode("utf-8", "replace").split(" "))

    flags = [b"--collective all_reduce --sizes 8,64K --dtype float32", b"--min 8 --max 1M --budget 3 --iters 7 --plan"]
    fuzz.run(flags, read, (UsageError, SystemExit), seconds)  # type: ignore[arg-type]


def test_traces(tmp_path: Path, seconds: float) -> None:
    header = Header("pyccl-trace", 1, "c" * 32, 0, 2, "host", "boot", 11, 100.0, 1e9, 0, "close")
    done = FlightRecord(
        1, 1, "all_reduce", "sum", "float32", 4, 16, "ring", -1, 0, "done", 1.0, 1.0, 2.0, "a.py:1", "", 1e9
    )
    lost = FlightRecord(2, 2, "send", "", "int8", 4, 4, "", 1, 7, "failed", 2.0, None, 3.0, "", "rank 1 died", None)
    lines = [json.dumps(dataclasses.asdict(line)).encode() + b"\n" for line in (header, done, lost)]

    def read(data: bytes) -> None:
        path = tmp_path / "rank0.jsonl"
        path.write_bytes(data)
        log = read_file(path)
        chrome_trace(merge([log]))

    fuzz.run([lines[0], b"".join(lines)], read, (ConfigError,), seconds)


def test_sizes(seconds: float) -> None:
    fuzz.run(
        [b"64K", b"1.5 MiB", b"12"], lambda data: parse_size(data.decode("latin-1")), (ValueError,), min(seconds, 2)
    )


def test_segments(seconds: float) -> None:
    """The header of shared memory, as another process may have left it."""
    ranks = 2
    good = _core.Segment.create(ranks)
    size = os.fstat(good.fd).st_size
    header = os.pread(good.fd, 1024, 0)

    def attach(data: bytes) -> None:
        fd = os.memfd_create("fuzz", os.MFD_CLOEXEC)
        try:
            sizes = {0: size, 1: len(data), 2: 0}
            os.ftruncate(fd, sizes[len(data) % 3] if data != header else size)
            os.pwrite(fd, data[:size], 0)
            _core.Segment.open(os.getpid(), fd, ranks, good.nonce)
        finally:
            os.close(fd)

    fuzz.run([header], attach, (OSError, RuntimeError), seconds)


@pytest.mark.parametrize("name", ["ring", "two_shot", "recursive_doubling"])
def test_tables_of_schedules(name: str, seconds: float) -> None:
    """What Python hands to the core; never run, only taken or refused."""
    size, rank = 4, 1
    good = build("all_reduce", name, size)
    tables: list[np.ndarray] = []
    nchunks = good.nchunks

    def compile_(data: bytes) -> None:
        ints = np.frombuffer(data[4 : len(data) // 4 * 4], "<i4")
        tables[:] = [ints if r == rank else t for r, t in enumerate(good.tables)]
        (chunks,) = struct.unpack("<i", data[:4].ljust(4, b"\0"))
        core = _core.Communicator(
            rank=rank, size=size, nodes=[0] * size, timeout=1.0, segment=None, node_ranks=[rank],
            pids=[os.getpid()], crowded=False, spin=0.0, yields=0, remote=None,
            build=lambda code, algorithm, root: (chunks, list(tables), 0),
        )  # fmt: skip
        try:
            core.set_choices(COLLECTIVES["all_reduce"].code, False, [(2**62, core.algorithm_index(name))])
            x = np.zeros(8, np.float32)
            call = partial(_core.Arguments, kind=COLLECTIVES["all_reduce"].code, op=0, algorithm=-1, root=-1, count=8)
            more = {"counts": [], "send_counts": [], "recv_counts": [], "factor": 1.0, "user": 0, "details": 0}
            core.plan(call(input=x, output=x, note="", timeout=1.0, **more), x)
        finally:
            core.close()

    table = np.ascontiguousarray(good.tables[rank], "<i4").tobytes()
    fuzz.run([struct.pack("<i", nchunks) + table], compile_, (ValueError,), seconds)
