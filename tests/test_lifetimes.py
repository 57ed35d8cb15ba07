"""What a communicator costs and leaves behind: nothing at import, nothing after close, no cores while waiting."""

from __future__ import annotations

import gc
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import pyccl
from pyccl import _core
from pyccl.bootstrap import ThreadBootstrap
from tests import mpi, ranks

MIB = 1 << 20


def descriptors() -> set[str]:
    return {f"{p.name} {p.readlink()}" for p in Path("/proc/self/fd").iterdir() if p.exists()}


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_importing_starts_nothing() -> None:
    code = """
import os, sys, threading
before = set(os.listdir("/proc/self/fd"))
import pyccl
assert "mpi4py" not in sys.modules and "torch" not in sys.modules and "numba" not in sys.modules
assert threading.active_count() == 1
assert len(os.listdir("/proc/self/task")) == 1
assert set(os.listdir("/proc/self/fd")) <= before | {str(len(before))}
assert "memfd" not in open("/proc/self/maps").read()
import pyccl.bootstrap, pyccl.tuning, pyccl.algorithms, pyccl.schedule, pyccl.cost
assert "mpi4py" not in sys.modules
"""
    # OpenBLAS, which NumPy brings, starts threads of its own where there are several cores
    environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environ, check=False
    )
    assert done.returncode == 0, done.stderr


def cycle(size: int) -> None:
    def body(comm: pyccl.Communicator) -> None:
        x = comm.empty(5000)
        comm.all_reduce(x, out=x)
        comm.all_reduce(np.ones(200_000))
        comm.all_reduce_async(np.ones(3)).wait()
        comm.all_to_all(np.ones(size), send_counts=[1] * size, recv_counts=[1] * size)
        assert ranks.outcome(lambda: comm.all_reduce(np.ones(3 + comm.rank))) is not None

    ranks.run(size, body)


def entries(folder: str) -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


def test_nothing_is_left_after_close() -> None:
    for _ in range(3):
        cycle(3)
    gc.collect()
    before, threads, shm = descriptors(), len(entries("/proc/self/task")), entries("/dev/shm")
    maps, memory = Path("/proc/self/maps").read_text().count("memfd:pyccl"), resident()
    for _ in range(50):
        cycle(3)
    gc.collect()
    assert descriptors() == before
    assert len(entries("/proc/self/task")) == threads
    assert {name for name in entries("/dev/shm") if not name.startswith("mpich")} <= shm
    assert Path("/proc/self/maps").read_text().count("memfd:pyccl") == maps
    assert resident() - memory < 8 * MIB


def test_ten_thousand_operations_leave_memory_as_it_was() -> None:
    def body(comm: pyccl.Communicator) -> int:
        def some(times: int) -> None:
            x = np.ones(1000)
            for i in range(times):
                comm.all_reduce(x)
                comm.all_gather(x[: 1 + i % 100])
                comm.broadcast(x, root=i % comm.size)
                if i % 10 == 0:
                    comm.all_reduce_async(x[: i % 50]).wait()
                    ranks.outcome(lambda: comm.all_reduce(x, "max" if comm.rank else "min"))

        some(300)
        comm.barrier()
        before = resident()
        some(2500)
        comm.barrier()
        return resident() - before

    assert max(ranks.run(2, body)) < 2 * MIB


def test_waiting_costs_no_processor_time() -> None:
    def body(comm: pyccl.Communicator) -> float:
        comm.barrier()
        if comm.rank == 0:
            time.sleep(1.0)
        start, wall = time.thread_time(), time.monotonic()
        comm.all_reduce(np.ones(4))
        spent, waited = time.thread_time() - start, time.monotonic() - wall
        return 0.0 if comm.rank == 0 else (spent - 0.010) / max(waited, 0.5)

    for size in (2, 5):
        assert max(ranks.run(size, body)) < 0.05


def test_memory_of_a_node_is_bounded() -> None:
    """8 MiB and one more for every rank, for all that a node's ranks add together."""
    size = 8

    def body(comm: pyccl.Communicator) -> int:
        for count in (1, 1000, 100_000, 2_000_000):
            x = np.ones(count, np.float32)
            comm.all_reduce(x, out=x)
            comm.reduce_scatter(x)
        del x
        comm.barrier()
        shared = shared_kib() if comm.rank == 0 else 0
        comm.barrier()
        return shared

    assert ranks.run(size, body)[0] * 1024 < 8 * MIB + size * MIB


def shared_kib() -> int:
    """Return the pages of pyccl's segments that exist, each counted once (the sum of their proportional shares)."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0] and ":" not in line.split(" ")[0]:
            inside = "memfd:pyccl" in line
        elif inside and line.startswith("Pss:"):
            total += int(line.split()[1])
    return total


@mpi.check(sizes=(8,))
def processes_share_their_memory(comm: pyccl.Communicator) -> None:
    from mpi4py import MPI

    def proportional() -> int:
        text = Path("/proc/self/smaps_rollup").read_text()
        return int(text.split("Pss:")[1].split()[0]) * 1024

    x = np.ones(4 * MIB, np.float32)
    MPI.COMM_WORLD.Allreduce(MPI.IN_PLACE, x)
    gc.collect()
    MPI.COMM_WORLD.Barrier()
    before = MPI.COMM_WORLD.allreduce(proportional())
    with pyccl.Communicator(MPI.COMM_WORLD) as other:
        for _ in range(3):
            other.all_reduce(x, out=x)
            other.all_reduce(x[:1000], out=x[:1000])
        MPI.COMM_WORLD.Barrier()
        after = MPI.COMM_WORLD.allreduce(proportional())
    assert after - before < (8 + comm.size) * MIB, f"{(after - before) / MIB:.1f} MiB"


test_mpi = mpi.checks(globals())


def test_a_dropped_communicator_is_closed() -> None:
    gc.collect()
    before = descriptors()
    groups = ThreadBootstrap.group(2)
    made: list[pyccl.Communicator] = []
    threads = [
        threading.Thread(target=lambda r=r: made.append(pyccl.Communicator.from_bootstrap(groups[r]))) for r in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(made) == 2
    made.clear()
    gc.collect()
    assert descriptors() == before
    assert "memfd:pyccl" not in Path("/proc/self/maps").read_text()


def test_leaving_with_work_in_flight_ends_the_process() -> None:
    """The interpreter may end while operations are queued: it waits for them, at most until their deadline."""
    code = """
import sys, numpy as np, pyccl
from pyccl.bootstrap import ThreadBootstrap
import threading
groups = ThreadBootstrap.group(2)
made = [None, None]
def start(r): made[r] = pyccl.Communicator.from_bootstrap(groups[r], timeout=1.0)
threads = [threading.Thread(target=start, args=(r,)) for r in range(2)]
[t.start() for t in threads]; [t.join() for t in threads]
works = [made[0].all_reduce_async(np.ones(5)) for _ in range(3)]
sys.exit(7)
"""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 7, done
    assert time.monotonic() - started < 30


def test_segments_that_are_not_what_they_should_be_are_refused() -> None:
    own = _core.Segment.create(2)
    pid, good = os.getpid(), own.nonce
    _core.Segment.open(pid, own.fd, 2, good)
    for fd, size, nonce in ((own.fd, 2, bytes(16)), (own.fd, 3, good), (own.fd, 2, good[:-1])):
        with pytest.raises((RuntimeError, OSError)):
            _core.Segment.open(pid, fd, size, nonce)
    with pytest.raises((RuntimeError, OSError), match="fd/10000"):
        _core.Segment.open(pid, 10_000, 2, good)
    for offset, value in ((0, b"garbage!"), (8, b"\xff\xff\xff\xff")):  # magic; version of the wire
        kept = os.pread(own.fd, len(value), offset)
        os.pwrite(own.fd, value, offset)
        with pytest.raises(RuntimeError):
            _core.Segment.open(pid, own.fd, 2, good)
        os.pwrite(own.fd, kept, offset)
    _core.Segment.open(pid, own.fd, 2, good)


def test_segments_are_private_and_cannot_shrink() -> None:
    own = _core.Segment.create(2)
    assert os.fstat(own.fd).st_mode & 0o777 == 0o600
    with pytest.raises(OSError, match="not permitted"):
        os.ftruncate(own.fd, 4096)
