"""Asynchronous operations: order, several in flight, results, errors, and what becomes of those nobody waits for."""

from __future__ import annotations

import gc
import threading
import time
from typing import Any

import numpy as np
import pytest

import pyccl
from tests import ranks


def test_several_in_flight_complete_with_their_own_results() -> None:
    def body(comm: pyccl.Communicator) -> None:
        xs = [np.full(10 * i, comm.rank + i) for i in range(40)]
        works = [comm.all_reduce_async(x) for x in xs]
        for i, work in reversed(list(enumerate(works))):
            y = work.wait()
            assert y.tolist() == [3 + 3 * i] * (10 * i)
            assert work.done()
            assert work.result() is y is work.wait()

    ranks.run(3, body)


def test_blocking_calls_keep_their_place_among_asynchronous_ones() -> None:
    def body(comm: pyccl.Communicator) -> list[list[int]]:
        x, seen = np.ones(20_000, np.int64), []
        for _ in range(10):
            first = comm.all_reduce_async(x, out=x)
            second = comm.all_reduce_async(x, "max", out=x)
            y = comm.all_reduce(x)  # reads what the two before have left
            plan = comm.plan("all_reduce", x, out=x)
            third = comm.broadcast_async(x, root=1)
            plan()
            seen.append(np.unique(y).tolist() + np.unique(x).tolist())
            for work in (first, second, third):
                work.wait()
            x[:] = 1
        return seen

    for seen in ranks.run(3, body):
        assert seen == [[9, 9]] * 10


def test_every_collective_has_an_asynchronous_twin() -> None:
    def body(comm: pyccl.Communicator) -> None:
        p, r = comm.size, comm.rank
        x = np.arange(p) + 10 * r
        works: dict[str, Any] = {
            "all_reduce": comm.all_reduce_async(x),
            "reduce_scatter": comm.reduce_scatter_async(x),
            "all_gather": comm.all_gather_async(x[:1].copy()),
            "broadcast": comm.broadcast_async(x.copy(), root=1),
            "reduce": comm.reduce_async(x, root=2),
            "gather": comm.gather_async(x[:1].copy(), root=0),
            "scatter": comm.scatter_async(x, root=1),
            "all_to_all": comm.all_to_all_async(x),
            "barrier": comm.barrier_async(),
        }
        total = p * np.arange(p) + 10 * sum(range(p))
        firsts = [10 * i for i in range(p)]
        wanted = {
            "all_reduce": total.tolist(),
            "reduce_scatter": [total[r]],
            "all_gather": firsts,
            "broadcast": (np.arange(p) + 10).tolist(),
            "reduce": total.tolist() if r == 2 else None,
            "gather": firsts if r == 0 else None,
            "scatter": [r + 10],
            "all_to_all": [r + f for f in firsts],
            "barrier": None,
        }
        got = {name: work.wait() for name, work in works.items()}
        assert {n: y if y is None else y.tolist() for n, y in got.items()} == wanted

    ranks.run(4, body)


def test_waiting_has_a_limit_of_its_own_and_may_be_repeated() -> None:
    gate = threading.Event()

    def body(comm: pyccl.Communicator) -> None:
        if comm.rank == 0:
            assert gate.wait(30)
            assert comm.all_reduce(np.ones(2)).tolist() == [2, 2]
            return
        work = comm.all_reduce_async(np.ones(2))
        with pytest.raises(pyccl.Timeout, match="still running"):
            work.wait(timeout=0.1)
        with pytest.raises(pyccl.Timeout):
            work.wait(0)
        assert not work.done()
        with pytest.raises(ValueError, match="still running"):
            work.result()
        gate.set()
        assert work.wait(timeout=30).tolist() == [2, 2]

    ranks.run(2, body, timeout=60)


def test_bad_limits_of_wait_are_refused() -> None:
    def body(comm: pyccl.Communicator) -> None:
        work = comm.all_reduce_async(np.ones(2))
        with pytest.raises(TypeError):
            work.wait("1 s")
        with pytest.raises(ValueError, match="timeout"):
            work.wait(float("nan"))
        work.wait()

    ranks.run(1, body)


def test_an_error_surfaces_in_wait_and_the_next_operation_works() -> None:
    def body(comm: pyccl.Communicator) -> None:
        before = comm.all_reduce_async(np.ones(3))
        wrong = comm.all_reduce_async(np.ones(3 + comm.rank))
        after = comm.all_reduce_async(np.ones(3))
        assert after.wait().tolist() == [3.0] * 3
        for _ in range(2):
            with pytest.raises(pyccl.MismatchError):
                wrong.wait()
        with pytest.raises(pyccl.MismatchError):
            wrong.result()
        assert before.wait().tolist() == [3.0] * 3

    ranks.run(3, body)


def test_a_refusal_takes_its_place_in_the_queue() -> None:
    def body(comm: pyccl.Communicator) -> None:
        works = [comm.all_reduce_async(np.ones(200_000)) for _ in range(3)]
        if comm.rank == 1:
            with pytest.raises(TypeError):
                comm.all_reduce_async(None)
        else:
            with pytest.raises(pyccl.PeerAborted):
                comm.all_reduce_async(np.ones(3)).wait()
        assert [w.wait()[0] for w in works] == [3.0] * 3
        ranks.usable(comm)

    ranks.run(3, body)


def test_work_that_nobody_waits_for_still_happens() -> None:
    def body(comm: pyccl.Communicator) -> None:
        out = np.zeros(1000)
        for _ in range(20):
            comm.all_reduce_async(np.full(1000, 2.0), out=out)  # its input has no other owner
            gc.collect(0)
        comm.barrier()
        assert (out == 6).all()

    ranks.run(3, body)


def test_close_waits_for_what_is_queued() -> None:
    def body(comm: pyccl.Communicator) -> None:
        out = [np.zeros(50_000) for _ in range(10)]
        works = [comm.all_reduce_async(np.ones(50_000), out=o) for o in out]
        comm.close()
        comm.close()
        assert all(work.done() for work in works)
        assert all((o == 3).all() for o in out)
        for call in (
            lambda: comm.all_reduce(np.ones(1)),
            lambda: comm.barrier_async(),
            lambda: comm.empty(1),
            comm.barrier,
        ):
            with pytest.raises(pyccl.CommError, match="closed"):
                call()

    ranks.run(3, body)


def test_plans_outlive_neither_close_nor_their_arrays() -> None:
    def body(comm: pyccl.Communicator) -> None:
        plan = comm.plan("all_reduce", np.ones(5))  # the plan keeps its arrays
        gc.collect()
        y = plan()
        assert y.tolist() == [2.0] * 5
        assert plan() is y
        comm.close()
        with pytest.raises(pyccl.CommError, match="closed"):
            plan()

    ranks.run(2, body)


def test_arrays_cannot_be_resized_while_in_flight() -> None:
    gate = threading.Event()

    def body(comm: pyccl.Communicator) -> None:
        x = np.ones(100)
        if comm.rank == 0:
            assert gate.wait(30)
        work = comm.all_reduce_async(x, out=x)
        if comm.rank == 1:
            with pytest.raises(ValueError, match="resize"):
                x.resize(1_000_000)
            gate.set()
        assert work.wait() is x

    ranks.run(2, body)


def test_two_communicators_in_two_threads() -> None:
    """Each rank drives two communicators from two threads; neither waits for the other."""

    def one(comm: pyccl.Communicator) -> None:
        for i in range(200):
            if i % 50 == comm.rank:
                time.sleep(0.001)
            assert comm.all_reduce(np.full(5 + i * 20, i + comm.rank))[0] == 3 * i + 3

    errors: list[BaseException] = []

    def group() -> None:
        try:
            ranks.run(3, one)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=group, daemon=True) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not errors, errors
    assert not any(t.is_alive() for t in threads)


def test_two_threads_on_one_communicator_are_serialised() -> None:
    """Many distinct arrays at once, so that nothing that is remembered about calls may be shared unguarded."""

    def body(comm: pyccl.Communicator) -> None:
        wrong: list[Any] = []

        def many(seed: int) -> None:
            for i in range(2000):
                x = np.full(1 + (i * seed) % 97, i + seed)
                y = comm.all_reduce(x)
                if y.shape != x.shape or (y != x).any():
                    wrong.append((x, y))

        threads = [threading.Thread(target=many, args=(seed,)) for seed in (3, 5, 7, 11)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not wrong, wrong[:3]

    ranks.run(1, body)
