"""A parameter server that has been used a lot has grown by nothing, and leaves nothing."""

from __future__ import annotations

import gc
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import pyccl
from pyccl import initializers, optim
from tests import mpi

PUSHES = 100_000
WINDOW = 64
CYCLES = 200
ALLOWED = 2 << 20  # bytes; the allocator's own


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def owned() -> dict[str, int]:
    """What a process has that must not become more."""
    me = Path("/proc/self")
    folders = {name: len(list((me / name).iterdir())) for name in ("fd", "task")}
    return {**folders, "memfd": (me / "maps").read_text().count("memfd"), "threads": threading.active_count()}


@mpi.check(sizes=(2,))
def a_hundred_thousand_pushes_leave_memory_flat(comm):
    with pyccl.ParameterServer(comm, replicas=1) as ps:
        ps.table("w", init=np.zeros(256, np.float32), optimizer=optim.Adam(1e-3))
        ps.table("e", sparse=True, dim=4, init=initializers.Zeros(), optimizer=optim.Adagrad(0.1))
        gradient, rows = np.ones(256, np.float32), np.ones((8, 4), np.float32)
        before = 0
        for k in range(PUSHES // comm.size // WINDOW):
            if k == 100:
                before = resident()
            for j in range(WINDOW):
                if j % 8:
                    dense = ps.push_async("w", gradient)
                else:
                    sparse = ps.push_async("e", rows, ids=(np.arange(8) * 7 + k) % 1000)
            dense.wait()
            sparse.wait()
            ps.pull("w")
        assert resident() - before < ALLOWED
        comm.barrier()
        time.sleep(0.3)  # servers of other nodes report what they count at times
        done = sum(server["requests"] for server in ps.stats())
        assert done >= PUSHES // WINDOW * WINDOW
        assert all(server["queued"] == 0 for server in ps.stats()) or comm.rank != 0
        comm.barrier()


@mpi.check(sizes=(2,))
def many_servers_leave_nothing(comm):
    sizes, counts = [], []
    for k in range(CYCLES):
        servers: Any = 1 if k % 3 == 0 else "colocated"
        copies = 0 if k % 3 == 0 else k % 2
        with pyccl.ParameterServer(comm, replicas=copies, servers=servers) as ps:
            ps.table("w", init=np.zeros(5000, np.float32), optimizer=optim.Momentum(0.1))
            ps.table("e", sparse=True, dim=4, init=initializers.Zeros(), optimizer=optim.SGD(0.1))
            if comm.rank in ps.workers:
                ps.push("w", np.ones(5000, np.float32))
                ps.push("e", np.ones((1, 4), np.float32), ids=[k])
            with ps.serve():
                pass
        del ps
        if k in (19, CYCLES - 1):
            gc.collect()
            sizes.append(resident())
            counts.append(owned())
    assert counts[1] == counts[0]
    assert sizes[1] - sizes[0] < 2 * ALLOWED
    assert not list(Path("/dev/shm").glob("*pyccl*"))


test_mpi = mpi.checks(globals())
