"""Messages, groups and split between processes: on one node, on several by PYCCL_NODE_SIZE, and by MPI alone."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest

import pyccl
from pyccl import Communicator
from tests import mpi

SIZES = (2, 3, 4)
BYTES = [0, 1, 1023, 1025, 2009, 65537, 3 << 20]


def ring(comm: Communicator) -> tuple[int, int]:
    return (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size


def data(nbytes: int, rank: int) -> Any:
    return np.random.default_rng([nbytes, rank]).integers(0, 256, nbytes, np.uint8)


@mpi.check(SIZES, BYTES)
def sendrecv_around_a_ring(comm: Communicator, nbytes: int) -> None:
    right, left = ring(comm)
    for _ in range(3):
        out = comm.sendrecv(data(nbytes, comm.rank), right, np.empty(nbytes, np.uint8), left)
        assert np.array_equal(out, data(nbytes, left))


@mpi.check(SIZES)
def blocking_messages_keep_their_order(comm: Communicator) -> None:
    for i in range(50):
        x = np.full(1 + 311 * (i % 20), i)
        if comm.rank == 0:
            for peer in range(1, comm.size):
                comm.send(x, peer)
        else:
            assert np.array_equal(comm.recv(np.empty_like(x), 0), x)


@mpi.check(SIZES)
def a_mismatch_raises_at_both_ends(comm: Communicator) -> None:
    for count in (3, 50_000):
        if comm.rank < 2:
            with pytest.raises(pyccl.MismatchError, match=r"rank 0 calls send.*tag=1.*rank 1 calls recv.*tag=2"):
                comm.send(np.ones(count), 1, tag=1) if comm.rank == 0 else comm.recv(np.ones(count), 0, tag=2)
        comm.barrier()
        assert comm.sendrecv(np.ones(2), ring(comm)[0], np.zeros(2), ring(comm)[1]).tolist() == [1, 1]


@mpi.check(SIZES)
def all_to_all_by_messages_in_a_group(comm: Communicator) -> None:
    for count in (1, 30_000):
        x = np.arange(comm.size * count, dtype=np.float32).reshape(comm.size, count) + comm.rank
        out = np.empty_like(x)
        with comm.group():
            for peer in range(comm.size):
                comm.send(x[peer], peer)
            total = comm.all_reduce(x)
            for peer in reversed(range(comm.size)):
                comm.recv(out[peer], peer)
        assert np.array_equal(out, comm.all_to_all(x))
        assert np.array_equal(total, comm.all_reduce(x))


@mpi.check(SIZES)
def asynchronous_messages_progress_together(comm: Communicator) -> None:
    right, left = ring(comm)
    outs = [np.empty(20_000) for _ in range(3)]
    works = [comm.recv_async(out, left, tag=i) for i, out in enumerate(outs)]
    works += [comm.send_async(np.full(20_000, 10.0 * comm.rank + i), right, tag=i) for i in range(3)]
    for work in works:
        work.wait()
    assert [out[-1] for out in outs] == [10.0 * left + i for i in range(3)]


@mpi.check(SIZES)
def split_makes_independent_communicators(comm: Communicator) -> None:
    with pytest.raises(ValueError if comm.rank == 1 else pyccl.PeerAborted):
        comm.split(-1 if comm.rank == 1 else 0)
    part = comm.split(None if comm.rank == comm.size - 1 else 0, key=-comm.rank)
    if comm.rank == comm.size - 1:
        assert part is None
        return
    assert part is not None
    with part:
        assert (part.rank, part.size) == (comm.size - 2 - comm.rank, comm.size - 1)
        assert part.all_gather(np.array([comm.rank])).tolist() == list(range(comm.size - 1))[::-1]


@mpi.check(SIZES)
def communicators_of_one_process_run_in_two_threads(comm: Communicator) -> None:
    from mpi4py import MPI

    if MPI.Query_thread() < MPI.THREAD_MULTIPLE and len(set(comm.nodes)) > 1:
        return
    failures: list[BaseException] = []

    def work(part: Communicator) -> None:
        try:
            right, left = ring(part)
            for i in range(20):
                assert part.all_reduce(np.full(3000, float(i)))[0] == part.size * i
                assert part.sendrecv(np.full(5000, i), right, np.empty(5000, int), left, tag=i)[-1] == i
        except BaseException as error:
            failures.append(error)

    other = MPI.COMM_WORLD.Dup()
    with pyccl.Communicator(other) as a, pyccl.Communicator(MPI.COMM_WORLD) as b:
        threads = [threading.Thread(target=work, args=(part,)) for part in (a, b)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    other.Free()
    assert not failures


@mpi.check((2,))
def a_missing_peer_is_a_timeout(comm: Communicator) -> None:
    from mpi4py import MPI

    with pyccl.Communicator(MPI.COMM_WORLD) as own:
        if own.rank == 0:
            start = time.monotonic()
            with pytest.raises(pyccl.Timeout, match=r"recv\(source=1, tag=7, .*count=5\)"):
                own.recv(np.empty(5), 1, tag=7, timeout=0.3)
            assert time.monotonic() - start < 5
        comm.barrier()


def at(*sizes: int) -> dict[str, Any]:
    """Return this module with its checks at these sizes only: every mpirun costs seconds."""
    namespace = dict(globals())
    for name, function in globals().items():
        if hasattr(function, "mpi_check"):
            known, cases = function.mpi_check
            namespace[name] = mpi.check([n for n in known if n in sizes], cases)(functools.partial(function))
    return namespace


test_one_node = mpi.checks(at(2, 4))
test_nodes_of_two = mpi.checks(at(3, 4), env={"PYCCL_NODE_SIZE": "2"})
test_mpi_alone = mpi.checks(at(2, 3), env={"PYCCL_TRANSPORT": "mpi"})

SIGNALLED = """
import os, signal, threading, time, numpy as np, pyccl
comm = pyccl.init()
if comm.rank == 0:
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    start = time.monotonic()
    try:
        comm.recv(np.empty(3), 1)
    except KeyboardInterrupt:
        assert time.monotonic() - start < 3
        print("interrupted")
else:
    try:
        comm.recv(np.empty(3), 0)
    except pyccl.CommError:
        print("told")
"""


@pytest.mark.mpi
def test_ctrl_c_ends_a_wait_and_the_peers_are_told() -> None:
    out = mpi.mpirun(SIGNALLED, 2, env={"PYCCL_TIMEOUT": "20"}, timeout=40).stdout
    assert "interrupted" in out
    assert "told" in out


def test_a_dead_peer_is_lost() -> None:
    """Without a launcher, which would end the survivor, too: two processes that share a segment through fork."""
    segment = pyccl._core.Segment.create(2)  # type: ignore[attr-defined]
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)  # until the parent is gone, or ends us
        os._exit(0)
    from pyccl import _core

    core = _core.Communicator(
        rank=0, size=2, nodes=[0, 0], timeout=20.0, segment=segment, node_ranks=[0, 1],
        pids=[os.getpid(), child], crowded=False, spin=1e-4, yields=0, remote=None, build=lambda *_: None,
    )  # fmt: skip
    try:
        threading.Timer(0.2, os.kill, (child, signal.SIGKILL)).start()
        with pytest.raises(pyccl.PeerLost, match="rank 1 died") as caught:
            core.recv(np.empty(3), 1, 0)
        assert caught.value.rank == 1
    finally:
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)
        core.close()
