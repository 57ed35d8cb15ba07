"""Groups, asynchronous messages, random programs of messages, and split: laws, with ranks as threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyccl
from pyccl import Communicator
from tests.p2p import check, launch, pattern


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


def test_an_exception_in_a_group_of_several_collectives_is_one_refusal() -> None:
    def body(comm: Communicator) -> None:
        total = np.zeros(2)
        expected = ZeroDivisionError if comm.rank == 0 else pyccl.PeerAborted
        calls: list[Callable[[], Any]] = [
            lambda: comm.all_reduce(np.ones(2), out=total),
            lambda: comm.sendrecv(np.ones(1), 1 - comm.rank, np.empty(1), 1 - comm.rank),
            lambda: 1 // comm.rank,
            lambda: comm.all_reduce(np.ones(2), out=total),
        ]
        with pytest.raises(expected):
            launch(comm, *calls)
        assert total.tolist() == [0, 0]
        assert comm.all_reduce(np.ones(2)).tolist() == [2, 2]

    check(2, body)


def test_an_exception_before_the_first_collective_of_a_group_aborts_the_peers() -> None:
    def body(comm: Communicator) -> None:
        if comm.rank == 0:
            with pytest.raises(ZeroDivisionError), comm.group():
                _ = 1 // 0
        else:
            with pytest.raises(pyccl.PeerAborted, match="the group was left by ZeroDivisionError") as caught:
                launch(comm, lambda: comm.recv(np.empty(2), 0))
            assert caught.value.broken
        with pytest.raises(pyccl.PeerAborted):
            comm.barrier()

    check(2, body)


def test_groups_that_differ_are_a_mismatch_before_anything_moves() -> None:
    def body(comm: Communicator) -> None:
        total = np.zeros(2)
        calls = [lambda: comm.all_reduce(np.ones(2), out=total)] * (1 + comm.rank)
        with pytest.raises(pyccl.MismatchError, match=f"rank {comm.rank} calls a group of {1 + comm.rank} collectives"):
            launch(comm, *calls)
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
