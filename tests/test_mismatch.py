"""Ranks that call different things: MismatchError on every rank at that operation, and the communicator lives on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyccl
from pyccl import algorithms
from pyccl.collectives import COLLECTIVES
from pyccl.programs import build_program
from pyccl.schedule import Builder
from tests import ranks

Call = tuple[str, tuple[Any, ...], dict[str, Any]]
SIZE = 3
X = np.arange(12.0)


def call(name: str, *args: Any, **options: Any) -> Call:
    return name, args, options


# what most ranks call, what one rank calls, and what the message shows of both sides
PAIRS: dict[str, tuple[Call, Call, str, str]] = {
    "op": (call("all_reduce", X), call("all_reduce", X, "max"), "op=sum", "op=max"),
    "op of a large array": (
        call("all_reduce", np.zeros(300_000)),
        call("all_reduce", np.zeros(300_000), "min"),
        "op=sum",
        "op=min",
    ),
    "op against premul_sum": (call("reduce", X), call("reduce", X, pyccl.premul_sum(2)), "op=sum", "op=premul_sum"),
    "dtype of another size": (call("all_reduce", X), call("all_reduce", X.astype("f4")), "float64", "float32"),
    "dtype of the same size": (call("all_reduce", X), call("all_reduce", X.astype("i8")), "float64", "int64"),
    "count": (call("all_reduce", X), call("all_reduce", X[:11]), "count=12", "count=11"),
    "count of none": (call("all_reduce", X), call("all_reduce", X[:0]), "count=12", "count=0"),
    "shards": (call("all_gather", X), call("all_gather", X[:10]), "count=36", "count=30"),
    "root of broadcast": (call("broadcast", X, root=1), call("broadcast", X, root=2), "root=1", "root=2"),
    "root of reduce": (call("reduce", X), call("reduce", X, root=2), "root=0", "root=2"),
    "root of gather": (call("gather", X), call("gather", X, root=1), "root=0", "root=1"),
    "root of scatter": (call("scatter", X), call("scatter", X, root=1), "root=0", "root=1"),
    "collective": (call("all_reduce", X), call("all_gather", X), "all_reduce(", "all_gather("),
    "barrier": (call("barrier"), call("all_reduce", X), "barrier()", "all_reduce("),
    "rooted against not rooted": (call("all_reduce", X), call("reduce", X), "all_reduce(", "reduce("),
    "algorithm": (call("all_reduce", X), call("all_reduce", X, algorithm="ring"), "one_shot", "ring"),
    "counts of reduce_scatter": (
        call("reduce_scatter", X, counts=[2, 4, 6]),
        call("reduce_scatter", X, counts=[4, 4, 4]),  # said or not
        "with counts=[2, 4, 6]",
        "with defaults",
    ),
    "counts of gather": (
        call("all_gather", X[:4], counts=[4, 4, 4]),
        call("all_gather", X[:4], counts=[3, 4, 5]),
        "with counts=[3, 4, 5]",
        "with defaults",
    ),
    "even against uneven": (
        call("all_to_all", X),
        call("all_to_all", X, send_counts=[4, 4, 4], recv_counts=[4, 4, 4]),
        "with defaults",
        "with send_counts",
    ),
}


def perform(comm: pyccl.Communicator, what: Call, form: str) -> Any:
    """Make a call blocking, asynchronous or planned."""
    name, args, options = what
    if form == "async":
        return getattr(comm, f"{name}_async")(*args, **options).wait()
    if form == "plan":
        return comm.plan(name, *args, **options)()
    return getattr(comm, name)(*args, **options)


def disagree(comm: pyccl.Communicator, odd: int, most: Call, one: Call, form: str) -> list[Any]:
    mine = one if comm.rank == odd else most
    own = (mine[0], tuple(np.copy(a) if isinstance(a, np.ndarray) else a for a in mine[1]), mine[2])
    error = ranks.outcome(lambda: perform(comm, own, form))
    pairs = zip(own[1], mine[1], strict=True)
    changed = [a for a, b in pairs if isinstance(a, np.ndarray) and not np.array_equal(a, b)]
    ranks.usable(comm)
    return [error, changed]


@pytest.mark.parametrize("form", ["call", "async", "plan"])
@pytest.mark.parametrize("name", PAIRS)
def test_a_mismatch_raises_on_every_rank_and_shows_both_sides(name: str, form: str) -> None:
    most, one, left, right = PAIRS[name]
    odd = 1 if name == "counts of gather" else len(name) % SIZE  # its shards fit rank 1 only
    for error, changed in ranks.run(SIZE, lambda comm: disagree(comm, odd, most, one, form)):
        assert isinstance(error, pyccl.MismatchError), repr(error)
        assert left in str(error), error
        assert right in str(error), error
        assert not changed, "the mismatch has moved payload"


def test_the_message_names_two_ranks_that_disagree() -> None:
    def body(comm: pyccl.Communicator) -> str:
        return str(ranks.outcome(lambda: comm.all_reduce(np.zeros(3 + (comm.rank == 4)))))

    for rank, text in enumerate(ranks.run(6, body)):
        first, second = text.split(", rank ")
        assert "rank 4 calls" in text, text
        assert f"rank {rank} calls" in text, text
        assert ("count=4" in first) != ("count=4" in second), text
        assert "#1" in text, text


def test_two_operations_in_swapped_order_raise_twice() -> None:
    def body(comm: pyccl.Communicator) -> list[BaseException | None]:
        calls = [lambda: comm.all_reduce(np.zeros(5)), lambda: comm.broadcast(np.zeros(5))]
        errors = [ranks.outcome(c) for c in (calls if comm.rank else reversed(calls))]
        ranks.usable(comm)
        return errors

    for errors in ranks.run(4, body):
        assert [type(e) for e in errors] == [pyccl.MismatchError] * 2


def test_counts_of_all_to_all_that_do_not_fit_each_other() -> None:
    def body(comm: pyccl.Communicator) -> BaseException | None:
        send, recv = [2] * comm.size, [2] * comm.size
        if comm.rank == 1:
            recv[2] = 3  # rank 2 sends two
        x = np.arange(2.0 * comm.size)
        error = ranks.outcome(lambda: comm.all_to_all(x, send_counts=send, recv_counts=recv))
        ranks.usable(comm)
        return error

    for error in ranks.run(4, body):
        assert isinstance(error, pyccl.MismatchError), repr(error)
        assert "rank 2" in str(error), error
        assert "rank 1" in str(error), error


def test_user_operations_that_differ() -> None:
    pytest.importorskip("numba")
    one, two = pyccl.user_op(lambda a, b: a + b, name="f"), pyccl.user_op(lambda a, b: a - b, name="f")

    def body(comm: pyccl.Communicator) -> BaseException | None:
        error = ranks.outcome(lambda: comm.all_reduce(np.ones(3), two if comm.rank == 0 else one))
        ranks.usable(comm)
        return error

    for error in ranks.run(3, body):
        assert isinstance(error, pyccl.MismatchError), repr(error)
        assert "user" in str(error)


@pytest.mark.parametrize("other", ["all_reduce", "other size", "bad dtype"])
def test_registering_different_things(other: str) -> None:
    """`comm.empty` is collective, too; and what is allocated afterwards is the same on all ranks again."""

    def odd(comm: pyccl.Communicator) -> Any:
        if other == "bad dtype":
            return comm.empty(4, ">f4")
        return comm.all_reduce(np.ones(4)) if other == "all_reduce" else comm.empty(5)

    def body(comm: pyccl.Communicator) -> tuple[BaseException | None, list[list[float]]]:
        error = ranks.outcome(lambda: odd(comm) if comm.rank == 1 else comm.empty(4))
        a, b = comm.empty(1000, "float64"), comm.empty(1000, "float64")
        sums = []
        for fill, x in ((1.0, a), (10.0, b), (100.0, a)):
            x[:] = fill
            sums.append(np.unique(comm.all_reduce(x, out=x)).tolist())
        for takes_a in (comm.rank != 0, comm.rank == 0, comm.rank == 1, comm.rank != 1):
            mine = a if takes_a else b
            a[:], b[:] = 1.0, 10.0
            sums.append(np.unique(comm.all_reduce(mine, out=mine)).tolist())  # different arrays on different ranks
        return error, sums

    for rank, (error, sums) in enumerate(ranks.run(3, body)):
        kind = pyccl.MismatchError if other != "bad dtype" else TypeError if rank == 1 else pyccl.PeerAborted
        assert isinstance(error, kind), repr(error)
        assert sums == [[3.0], [30.0], [300.0], [12.0], [21.0], [21.0], [12.0]]


def mixes() -> list[Callable[[pyccl.Communicator, Any], Any]]:
    return [
        lambda comm, x: comm.all_reduce(x),
        lambda comm, x: comm.all_reduce(x, out=x),
        lambda comm, x: comm.reduce_scatter(x),
        lambda comm, x: comm.all_gather(x),
        lambda comm, x: comm.broadcast(x, root=1),
        lambda comm, x: comm.reduce(x, root=1),
        lambda comm, x: comm.all_to_all(x),
    ]


def test_registered_and_private_arrays_may_meet() -> None:
    def body(comm: pyccl.Communicator) -> list[list[Any]]:
        shared = comm.empty(120, "int64")
        results = []
        for call in mixes():
            for who in (set(), {0}, {1, 2}, {0, 1, 2}):
                x = shared if comm.rank in who else np.empty(120, "int64")
                x[:] = np.arange(120) * (comm.rank + 1)
                y = call(comm, x)
                results.append([None if y is None else y.tobytes()])
        return results

    for results in ranks.run(3, body):
        for start in range(0, len(results), 4):
            assert all(r == results[start] for r in results[start : start + 4]), start // 4


def test_algorithms_of_one_name_and_several_bodies_are_a_mismatch() -> None:
    """What a rank has registered is its own: a stale file, or a value that differs."""

    def star(hub: int) -> Callable[[Builder], None]:
        def function(b: Builder) -> None:
            b.chunks(1)
            others = [q for q in range(b.size) if q != hub]
            if b.rank == hub:
                b.recv_reduce(chunk=0, source=others)
                b.send(chunk=0, dest=others)
            else:
                b.send(chunk=0, dest=hub)
                b.recv(chunk=0, source=hub)

        return function

    def build(hub: int, count: int) -> tuple[int, Any, int]:
        algorithms.register_algorithm("all_reduce", star(hub), name="star", replace=True)
        try:
            return build_program(SIZE, (0,) * SIZE, (1.0,), COLLECTIVES["all_reduce"].code, "star", -1)
        finally:
            algorithms.unregister_algorithm("all_reduce", "star")

    digests = [build(hub, 1)[2] for hub in (0, 1, 0)]
    assert digests[0] == digests[2] != digests[1]

    def call_star(comm: pyccl.Communicator) -> BaseException | None:
        with lock:  # threads share one registry: what stands there when the schedule is built is this rank's
            algorithms.register_algorithm("all_reduce", star(comm.rank % 2), name="star", replace=True)
            step = comm.plan("all_reduce", np.ones(3), algorithm="star")
        error = ranks.outcome(step)
        ranks.usable(comm)
        return error

    lock = threading.Lock()
    algorithms.register_algorithm("all_reduce", star(0), name="star")
    try:
        for error in ranks.run(SIZE, call_star):
            assert isinstance(error, pyccl.MismatchError), repr(error)
            assert "with schedule" in str(error)
    finally:
        algorithms.unregister_algorithm("all_reduce", "star")
