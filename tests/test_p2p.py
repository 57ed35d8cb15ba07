"""Messages between two ranks, groups and split: laws, with ranks as threads of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyccl
from pyccl import Communicator
from pyccl.bootstrap import ThreadBootstrap

KIB = 1024
SIZES = [0, 1, 7, 31 * KIB - 1, 31 * KIB + 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 3 << 20]
DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "bfloat16",
          "float32", "float64", "complex64", "complex128"]  # fmt: skip


def run(size: int, body: Callable[[Communicator], Any], timeout: float = 10.0) -> list[Any]:
    """Call `body` on every rank, each a thread; return the results, or the exception of a rank that raised."""
    ranks = ThreadBootstrap.group(size, 20.0)
    results: list[Any] = [None] * size

    def one(rank: int) -> None:
        try:
            with Communicator.from_bootstrap(ranks[rank], timeout=timeout) as comm:
                results[rank] = body(comm)
        except BaseException as error:
            results[rank] = error

    threads = [threading.Thread(target=one, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return results


def check(size: int, body: Callable[[Communicator], Any], timeout: float = 10.0) -> list[Any]:
    """Do as `run`, but raise what a rank raised: the cause, rather than that others then waited in vain."""
    results = run(size, body, timeout)
    errors = [result for result in results if isinstance(result, BaseException)]
    if errors:
        raise min(errors, key=lambda error: isinstance(error, pyccl.CommError))
    return results


def launch(comm: Communicator, *calls: Callable[[], Any]) -> None:
    with comm.group():
        for call in calls:
            call()


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

    check(2, body)


def test_every_dtype_travels() -> None:
    def body(comm: Communicator) -> None:
        for name in DTYPES:
            dtype = np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
            x = np.arange(6).reshape(2, 3).astype(dtype)
            if comm.rank == 0:
                comm.send(x, 1)
            else:
                assert np.array_equal(comm.recv(np.empty((2, 3), dtype), 0), x), name

    check(2, body)


def test_messages_of_a_pair_keep_their_order() -> None:
    def body(comm: Communicator) -> None:
        for i in range(200):
            x = np.full(1 + 997 * (i % 20), i)
            if comm.rank == 0:
                comm.send(x, 1)
            else:
                assert np.array_equal(comm.recv(np.empty_like(x), 0), x)

    check(2, body)


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

    first, second = check(2, body)
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

    check(2, body)


def test_a_timeout_of_one_rank_wakes_the_others_of_its_node() -> None:
    def body(comm: Communicator) -> float:
        start = time.monotonic()
        with pytest.raises(pyccl.Timeout):
            comm.recv(np.zeros(4), 1 - comm.rank, timeout=0.2 if comm.rank else 20)
        return time.monotonic() - start

    assert max(check(2, body)) < 5


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

    check(2, body)


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

    check(size, body)


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_all_to_all_by_messages_in_a_group(size: int, asynchronous: bool) -> None:
    def body(comm: Communicator) -> None:
        for count in (1, 20_000):
            x = np.arange(size * count, dtype=np.float64).reshape(size, count) + 1000 * comm.rank
            out = np.empty_like(x)
            with comm.group(asynchronous=asynchronous) as g:
                for peer in range(size):  # all send first: only progressing together ends this
                    g.send(x[peer], peer)
                for peer in reversed(range(size)):
                    comm.recv(out[peer], peer)
                total = comm.all_reduce(x)
                comm.barrier()
            if asynchronous:
                assert g.work is not None
                g.work.wait()
            assert np.array_equal(out, comm.all_to_all(x))
            assert np.array_equal(total, comm.all_reduce(x))

    check(size, body)


def test_a_failure_inside_a_group_does_not_stop_the_rest() -> None:
    def body(comm: Communicator) -> None:
        peer = 1 - comm.rank
        out, total = np.empty(2), np.empty(2)
        with pytest.raises(pyccl.MismatchError):
            launch(
                comm,
                lambda: comm.sendrecv(np.ones(3 + comm.rank), peer, np.empty(3 + comm.rank), peer),
                lambda: comm.sendrecv(np.full(2, 1.0 + comm.rank), peer, out, peer),
                lambda: comm.all_reduce(np.ones(2), out=total),
            )
        assert out.tolist() == [1.0 + peer] * 2
        assert total.tolist() == [2, 2]

    check(2, body)


def test_an_exception_inside_a_group_launches_nothing_and_refuses_its_collectives() -> None:
    def body(comm: Communicator) -> None:
        total = np.zeros(2)
        if comm.rank == 0:
            with pytest.raises(ZeroDivisionError):
                launch(comm, lambda: comm.all_reduce(np.ones(2), out=total), lambda: 1 // 0)
            with pytest.raises(TypeError), comm.group():
                comm.all_reduce("x")
            with pytest.raises(ValueError, match="itself"):
                launch(comm, lambda: comm.send(np.ones(2), 0), comm.barrier)
        else:
            for words in ("ZeroDivisionError", "TypeError", "itself"):
                with pytest.raises(pyccl.PeerAborted, match=words), comm.group():
                    comm.all_reduce(np.ones(2), out=total)
        assert total.tolist() == [0, 0]
        assert comm.all_reduce(np.ones(2)).tolist() == [2, 2]

    check(2, body)


def test_groups_refuse_what_they_cannot_record() -> None:
    def body(comm: Communicator) -> None:
        with comm.group():
            for call in (lambda: comm.barrier_async(), lambda: comm.send_async(np.ones(1), 0), comm.group().__enter__):
                with pytest.raises(ValueError, match="group"):
                    call()
        assert comm.all_reduce(np.ones(2)).tolist() == [1, 1]
        comm.close()
        for closed in (lambda: comm.send(np.ones(1), 0), lambda: comm.all_reduce(np.ones(1)), comm.group().__enter__):
            with pytest.raises(pyccl.CommError, match="closed"):
                closed()

    check(1, body)


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

    check(2, body)


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

    check(2, body)


def test_an_asynchronous_mismatch_spares_its_neighbours() -> None:
    def body(comm: Communicator) -> None:
        peer = 1 - comm.rank
        bad = comm.recv_async(np.empty(2), peer) if comm.rank else comm.send_async(np.empty(3), peer)
        good = comm.sendrecv_async(np.full(4, float(comm.rank)), peer, np.empty(4), peer)
        with pytest.raises(pyccl.MismatchError, match="count=3"):
            bad.wait()
        assert good.wait().tolist() == [float(peer)] * 4

    check(2, body)


Step = tuple[str, int, int, int]


@st.composite
def programs(draw: st.DrawFn) -> tuple[int, list[list[Step]]]:
    """Some groups of steps over a few ranks: (what, source, dest, bytes)."""
    size = draw(st.integers(1, 4))
    rank = st.integers(0, size - 1)
    nbytes = st.sampled_from([0, 1, 8, 2007, 2008, 2009, 32768, 32769, 100_001])
    step = st.tuples(st.sampled_from(["message", "message", "all_reduce"]), rank, rank, nbytes)
    return size, draw(st.lists(st.lists(step, max_size=8), max_size=4))


@settings(max_examples=25, deadline=None)
@given(programs())
def test_random_programs_deliver_everything(program: tuple[int, list[list[Step]]]) -> None:
    size, groups = program

    def body(comm: Communicator) -> None:
        expected = []
        for g, steps in enumerate(groups):
            with comm.group():
                for i, (what, source, dest, nbytes) in enumerate(steps):
                    data = pattern(nbytes, 100 * g + i)
                    if what == "all_reduce":
                        expected.append((comm.all_reduce(data, "max"), data))
                        continue
                    if comm.rank == source:
                        comm.send(data, dest, tag=i)
                    if comm.rank == dest:
                        expected.append((comm.recv(np.empty_like(data), source, tag=i), data))
        for got, wanted in expected:
            assert np.array_equal(got, wanted)

    check(size, body)


def test_split_orders_by_key_and_rank() -> None:
    def body(comm: Communicator) -> None:
        color = None if comm.rank == 4 else comm.rank % 2
        part = comm.split(color, key=-comm.rank)
        if color is None:
            assert part is None
        else:
            assert part is not None
            members = [r for r in (4, 3, 2, 1, 0) if r % 2 == color and r != 4]
            assert (part.rank, part.size) == (members.index(comm.rank), 2)
            assert part.all_gather(np.array([comm.rank])).tolist() == members
            out = part.sendrecv(np.array([comm.rank]), 1 - part.rank, np.empty(1, int), 1 - part.rank)
            assert out.tolist() == [members[1 - part.rank]]
            part.close()
        comm.barrier()

    check(5, body)


def test_split_with_a_bad_color_raises_everywhere() -> None:
    def body(comm: Communicator) -> None:
        for color, error in ((-1, ValueError), ("red", TypeError)):
            expected = error if comm.rank == 1 else pyccl.PeerAborted
            with pytest.raises(expected, match="color|integer" if comm.rank == 1 else "rank 1 refused"):
                comm.split(color if comm.rank == 1 else 0)  # type: ignore[arg-type]
        comm.barrier()

    check(3, body)


def test_communicators_are_independent_from_different_threads() -> None:
    def body(comm: Communicator) -> None:
        parts = [comm.split(0), comm.split(0, key=-comm.rank)]
        failures: list[BaseException] = []

        def work(part: Communicator, steps: int) -> None:
            try:
                right, left = (part.rank + 1) % part.size, (part.rank - 1) % part.size
                for i in range(steps):
                    total = part.all_reduce(np.full(5000, float(i)))
                    assert total[0] == part.size * i
                    out = part.sendrecv(np.full(9000, i), right, np.empty(9000, int), left, tag=i)
                    assert out[-1] == i
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(part, 60)) for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures

    check(2, body)
