"""Schedules as the simulator sees them: symmetric algorithms, deadlocks, and messages that overtake."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from pyccl.algorithms import build, get_algorithm, known, register_algorithm, unregister_algorithm
from pyccl.errors import ConfigError
from pyccl.schedule import Builder, decode, record_first, verify
from pyccl.sim import Cluster, simulate_collective

SYMMETRIC = [(c, a) for c, a in known() if get_algorithm(c, a).symmetric]


def switch(hosts: int, **settings: Any) -> Cluster:
    return Cluster.switch(hosts=hosts, **{"nic": "12.5 GB/s", "latency": "1 us", **settings})


# --- symmetric algorithms


def shifted(chunk: int, rank: int, size: int, nchunks: int) -> int:
    if nchunks == 1:
        return chunk
    if nchunks == size:
        return (chunk + rank) % size
    return (chunk // size + rank) % size * size + (chunk % size + rank) % size


@pytest.mark.parametrize(("collective", "algorithm"), SYMMETRIC)
def test_symmetric_algorithms_are(collective: str, algorithm: str) -> None:
    function = get_algorithm(collective, algorithm).function
    for size in range(1, 65):
        first, nchunks = record_first(function, collective, size)
        steps = decode(first)
        for rank in {1, 2, size // 2, size - 1} if size > 16 else range(size):
            b = Builder(rank % size, size)
            function(b)
            mine = decode(np.array(b.stream, dtype=np.int32))
            for step, base in zip(mine, steps, strict=True):
                assert step.kind == base.kind
                assert step.chunk == shifted(base.chunk, rank % size, size, nchunks)
                assert set(step.peers) == {(peer + rank) % size for peer in base.peers}


def test_the_algorithms_of_long_runs_are_symmetric() -> None:
    rings = {(c, "ring") for c in ("all_reduce", "reduce_scatter", "all_gather")}
    assert rings | {("all_to_all", "pairwise"), ("barrier", "dissemination"), ("all_reduce", "two_shot")} <= set(
        SYMMETRIC
    )


# --- schedules that cannot run, and those that only seem so


def deadlock(b: Builder) -> None:
    b.chunks(1)
    b.recv_reduce(chunk=0, source=1 - b.rank)
    b.send(chunk=0, dest=1 - b.rank)


def crossed(b: Builder) -> None:
    """Rank 1 takes rank 0's message only after one that rank 2 sends when it has rank 0's second message."""
    b.chunks(1)
    if b.rank == 0:
        b.send(chunk=0, dest=1)
        b.send(chunk=0, dest=2)
    elif b.rank == 1:
        b.recv(chunk=0, source=2)
        b.recv(chunk=0, source=0)
    else:
        b.recv(chunk=0, source=0)
        b.send(chunk=0, dest=1)


@pytest.fixture
def registered() -> Any:
    names = []

    def register(function: Any, collective: str) -> str:
        names.append((collective, function.__name__))
        register_algorithm(collective, function)
        return str(function.__name__)

    yield register
    for collective, name in names:
        unregister_algorithm(collective, name)


def test_a_deadlock_names_the_ranks(registered: Any) -> None:
    name = registered(deadlock, "all_reduce")
    with pytest.raises(ConfigError, match="deadlocks: rank 0 cannot send to rank 1; rank 1 cannot"):
        simulate_collective(switch(2), "all_reduce", 8, algorithm=name)


def test_a_run_that_would_need_too_much_memory_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="too many steps for events"):
        simulate_collective(switch(20_000), "all_reduce", "64 MiB", algorithm="ring", fidelity="events")


def test_ctrl_c_ends_a_long_run() -> None:
    code = """
import signal, threading, os
from pyccl.sim import Cluster, simulate_collective
cluster = Cluster.switch(hosts=8000, nic="1 GB/s", latency="1 us")
threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    simulate_collective(cluster, "all_reduce", "64 MiB", algorithm="ring", fidelity="events")
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "interrupted\n", done.stderr


def test_sends_wait_for_nobody_in_the_end(registered: Any) -> None:
    name = registered(crossed, "broadcast")
    verify(build("broadcast", name, 3))
    result = simulate_collective(switch(3, latency="1 s", nic="1 GB/s"), "broadcast", 8, algorithm=name)
    assert result.time == pytest.approx(6.0)
