"""PYCCL_DEBUG=1: arrays of asynchronous operations are pyccl's until wait() has returned."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyccl
from tests import ranks

HERE = re.escape(str(Path(__file__)))


@pytest.fixture(autouse=True)
def debug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYCCL_DEBUG", "1")


def raises(error: type[Exception], pattern: str, function: Any) -> None:
    with pytest.raises(error, match=pattern):
        function()


def test_honest_programs_work() -> None:
    def body(comm: pyccl.Communicator) -> None:
        x, y, z = np.ones(100), np.empty(100), np.zeros(100, "c8")
        for _ in range(3):
            works = [comm.all_reduce_async(x, out=y), comm.broadcast_async(z), comm.all_gather_async(x)]
            assert works[0].wait() is y
            assert (y == comm.size).all()
            x2 = works[2].wait()
            assert x2.shape == (100 * comm.size,)
            while not works[1].done():
                time.sleep(0.001)
            z[:] = 1
            assert works[1].wait() is works[1].result() is z
        comm.all_reduce_async(y, out=y).wait()
        peer = comm.rank ^ 1
        received = comm.recv_async(y, peer)
        comm.send_async(x, peer).wait()
        assert (received.wait() == 1).all()
        ranks.usable(comm)

    ranks.run(2, body)


@pytest.mark.parametrize("side", ["input", "output"])
def test_a_write_before_the_operation_begins(side: str) -> None:
    def body(comm: pyccl.Communicator) -> None:
        x, out = np.ones(4), np.zeros(4)
        if comm.rank == 0:
            time.sleep(0.3)
        first = comm.barrier_async()
        work = comm.all_reduce_async(x, out=out)
        if comm.rank == 1:
            (x if side == "input" else out)[2] = 5  # the barrier still waits
            raises(
                pyccl.ConcurrentWrite,
                rf"the {side} of all_reduce_async called at {HERE}:\d+ was written before it began",
                work.wait,
            )
            raises(pyccl.ConcurrentWrite, "was written", work.result)
        else:
            work.wait()
        first.wait()
        ranks.usable(comm)

    ranks.run(2, body)


def test_a_write_while_it_runs() -> None:
    def body(comm: pyccl.Communicator) -> None:
        x = np.ones(1000)
        if comm.rank == 0:
            time.sleep(0.5)
            comm.all_reduce_async(x).wait()
        else:
            work = comm.all_reduce_async(x)
            time.sleep(0.2)
            x[7] = 3
            raises(pyccl.ConcurrentWrite, "the input of all_reduce_async .* was written while it ran", work.wait)

    ranks.run(2, body)


def test_a_write_before_the_wait() -> None:
    def body(comm: pyccl.Communicator) -> None:
        x = np.ones(10, np.float32)
        work = comm.all_reduce_async(x, out=x)
        comm.barrier()  # queues behind it
        x += 1
        raises(
            pyccl.ConcurrentWrite, "the .*put of all_reduce_async .* was written before it was waited for", work.wait
        )

    ranks.run(2, body)


@pytest.mark.parametrize("blocking", [False, True])
def test_a_second_operation_on_the_same_array(blocking: bool) -> None:
    def body(comm: pyccl.Communicator) -> None:
        x = np.ones(10)
        work = comm.all_reduce_async(x, out=x)
        pattern = rf"all_gather called at {HERE}:\d+ uses an array of all_reduce_async called at {HERE}:\d+"
        if comm.rank == 1:
            raises(ValueError, pattern, lambda: (comm.all_gather if blocking else comm.all_gather_async)(x[3:5]))
        else:
            raises(pyccl.PeerAborted, "rank 1 .*uses an array", lambda: comm.all_gather(np.ones(2)))
        work.wait()
        assert (comm.all_gather(x[3:5]) == comm.size).all()

    ranks.run(2, body)


def test_two_may_read_one_array_and_blocks_of_one_may_be_written() -> None:
    def body(comm: pyccl.Communicator) -> None:
        x, out = np.ones(8), np.zeros(16)
        works = [comm.all_reduce_async(x, out=out[:8]), comm.all_reduce_async(x, "max", out=out[8:])]
        for work in works:
            work.wait()
        assert out.tolist() == [2] * 8 + [1] * 8

    ranks.run(2, body)


def test_messages_are_looked_after() -> None:
    def body(comm: pyccl.Communicator) -> None:
        x, peer = np.ones(4), comm.rank ^ 1
        if comm.rank == 0:
            work = comm.send_async(x, peer)
            raises(ValueError, "recv called at .* uses an array of send_async", lambda: comm.recv(x, peer))
            x[0] = 9
            comm.barrier_async()
            raises(pyccl.ConcurrentWrite, "the input of send_async", work.wait)
        else:
            comm.recv(x, peer)
            comm.barrier()

    ranks.run(2, body)


def test_a_failed_operation_gives_its_arrays_back() -> None:
    def body(comm: pyccl.Communicator) -> None:
        x = np.ones(3 + comm.rank)
        raises(pyccl.MismatchError, "disagree", comm.all_reduce_async(x, out=x).wait)
        comm.all_reduce_async(x[:3].copy()).wait()
        comm.all_reduce(x[:3], out=x[:3])

    ranks.run(2, body)


def test_without_the_variable_nothing_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYCCL_DEBUG")

    def body(comm: pyccl.Communicator) -> None:
        x = np.ones(4)
        work = comm.all_reduce_async(x)
        assert type(work) is pyccl._core.Work
        comm.all_reduce(x, out=x)
        work.wait()

    ranks.run(2, body)
