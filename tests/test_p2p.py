"""Messages between two ranks: laws, with ranks as threads of this process."""

from __future__ import annotations

import threading
import time
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import pyccl
from pyccl import Communicator
from tests import ranks

KIB = 1024
SIZES = [0, 1, 7, 31 * KIB - 1, 31 * KIB + 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 3 << 20]
DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "bfloat16",
          "float32", "float64", "complex64", "complex128"]  # fmt: skip


def pattern(nbytes: int, seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, nbytes, np.uint8)


def test_what_is_sent_arrives_whatever_its_size() -> None:
    def body(comm: Communicator) -> None:
        for i, nbytes in enumerate(SIZES):
            if comm.rank == 0:
                comm.send(pattern(nbytes, i), 1, tag=i)
            else:
                out = np.zeros(nbytes, np.uint8)
                assert comm.recv(out, 0, tag=i) is out
                assert np.array_equal(out, pattern(nbytes, i))

    ranks.run(2, body)


def test_every_dtype_travels() -> None:
    def body(comm: Communicator) -> None:
        for name in DTYPES:
            dtype = np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
            x = np.arange(6).reshape(2, 3).astype(dtype)
            if comm.rank == 0:
                comm.send(x, 1)
            else:
                assert np.array_equal(comm.recv(np.empty((2, 3), dtype), 0), x), name

    ranks.run(2, body)


def test_messages_of_a_pair_keep_their_order() -> None:
    def body(comm: Communicator) -> None:
        for i in range(200):
            x = np.full(1 + 997 * (i % 20), i)
            if comm.rank == 0:
                comm.send(x, 1)
            else:
                assert np.array_equal(comm.recv(np.empty_like(x), 0), x)

    ranks.run(2, body)


@pytest.mark.parametrize(
    ("sent", "tag", "words"),
    [
        (np.zeros(5), 1, ["tag=1", "tag=0"]),
        (np.zeros(5, np.int64), 0, ["dtype=int64", "dtype=float64"]),
        (np.zeros(6), 0, ["count=6", "count=5"]),
        (np.zeros(100_000), 0, ["count=100000", "count=5"]),
    ],
)
def test_a_mismatch_raises_at_both_ends_and_leaves_the_pair_usable(sent: Any, tag: int, words: list[str]) -> None:
    def body(comm: Communicator) -> str:
        x = np.ones(5)
        with pytest.raises(pyccl.MismatchError) as caught:
            comm.send(sent, 1, tag=tag) if comm.rank == 0 else comm.recv(x, 0)
        assert np.array_equal(x, np.ones(5))
        if comm.rank == 0:
            comm.send(np.arange(5.0), 1)
        else:
            assert np.array_equal(comm.recv(x, 0), np.arange(5.0))
        comm.barrier()
        return str(caught.value)

    first, second = ranks.run(2, body)
    assert first == second
    assert all(word in first for word in [*words, "rank 0 calls send", "rank 1 calls recv"])


@pytest.mark.parametrize("sends", [True, False])
def test_a_missing_peer_is_a_timeout(sends: bool) -> None:
    arrived = threading.Event()

    def body(comm: Communicator) -> None:
        if comm.rank == 1:
            arrived.wait(10)
            return
        try:
            with pytest.raises(pyccl.Timeout, match=r"tag=3.*count=4.*rank 1") as caught:
                (comm.send if sends else comm.recv)(np.zeros(4), 1, tag=3, timeout=0.2)
            assert caught.value.missing == (1,)
            with pytest.raises(pyccl.CommError):
                comm.send(np.zeros(4), 1)
        finally:
            arrived.set()

    ranks.run(2, body)


def test_a_timeout_of_one_rank_wakes_the_others_of_its_node() -> None:
    def body(comm: Communicator) -> float:
        start = time.monotonic()
        with pytest.raises(pyccl.Timeout):
            comm.recv(np.zeros(4), 1 - comm.rank, timeout=0.2 if comm.rank else 20)
        return time.monotonic() - start

    assert max(ranks.run(2, body)) < 5


def test_bad_arguments_are_local() -> None:
    def body(comm: Communicator) -> None:
        x = np.zeros(3)
        frozen = np.zeros(3)
        frozen.flags.writeable = False
        for error, function, arguments in [
            (ValueError, comm.send, (x, comm.rank)),
            (ValueError, comm.recv, (x, comm.rank)),
            (ValueError, comm.send, (x, 2)),
            (ValueError, comm.send, (x, -1)),
            (TypeError, comm.send, (x, "1")),
            (TypeError, comm.send, ([1.0], 1)),
            (ValueError, comm.recv, (frozen, 0 if comm.rank else 1)),
            (ValueError, comm.send, (np.zeros((4, 4))[:, 0], 1)),
            (ValueError, comm.sendrecv, (x, comm.rank, np.zeros(3), 1 - comm.rank)),
            (ValueError, comm.sendrecv, (x, 0, x, 0)),
        ]:
            with pytest.raises(error):
                function(*arguments)
        for options in ({"tag": -1}, {"tag": 2**31}, {"timeout": 0}):
            with pytest.raises(ValueError, match=r"tag|timeout"):
                comm.send(x, 1 - comm.rank, **options)
        if comm.rank:
            comm.recv(x, 0)
        else:
            comm.send(frozen, 1)

    ranks.run(2, body)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [0, 3, 50_000])
def test_sendrecv_around_a_ring(size: int, count: int) -> None:
    def body(comm: Communicator) -> None:
        right, left = (comm.rank + 1) % size, (comm.rank - 1) % size
        x, out = np.full(count, float(comm.rank)), np.empty(count)
        for _ in range(3):
            assert comm.sendrecv(x, right, out, left, tag=5) is out
            assert np.array_equal(out, np.full(count, float(left)))
        assert np.array_equal(comm.sendrecv(x, comm.rank, out, comm.rank), x)

    ranks.run(size, body)


def test_asynchronous_messages_progress_together() -> None:
    def body(comm: Communicator) -> None:
        peer = 1 - comm.rank
        for count in (1, 100_000):
            outs = [np.empty(count) for _ in range(3)]
            receives = [comm.recv_async(out, peer, tag=i) for i, out in enumerate(outs)]
            sends = [comm.send_async(np.full(count, 10.0 * comm.rank + i), peer, tag=i) for i in range(2)]
            comm.send(np.full(count, 10.0 * comm.rank + 2), peer, tag=2)
            for i, work in enumerate(receives):
                assert work.wait() is outs[i]
                assert np.array_equal(outs[i], np.full(count, 10.0 * peer + i))
            for work in sends:
                work.wait()

    ranks.run(2, body)


def test_messages_and_collectives_keep_the_order_of_issue() -> None:
    def body(comm: Communicator) -> None:
        peer = 1 - comm.rank
        x, out = np.ones(1000), np.empty(1000)
        first = comm.all_reduce_async(x, out=x)
        second = comm.sendrecv_async(x, peer, out, peer)  # sends what the all_reduce has written
        third = comm.all_reduce_async(out)
        comm.sendrecv(x, peer, np.empty(1000), peer)
        assert np.array_equal(third.wait(), np.full(1000, 4.0))
        assert first.done()
        assert second.done()

    ranks.run(2, body)


def test_an_asynchronous_mismatch_spares_its_neighbours() -> None:
    def body(comm: Communicator) -> None:
        peer = 1 - comm.rank
        bad = comm.recv_async(np.empty(2), peer) if comm.rank else comm.send_async(np.empty(3), peer)
        good = comm.sendrecv_async(np.full(4, float(comm.rank)), peer, np.empty(4), peer)
        with pytest.raises(pyccl.MismatchError, match="count=3"):
            bad.wait()
        assert good.wait().tolist() == [float(peer)] * 4

    ranks.run(2, body)
