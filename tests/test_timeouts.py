"""A rank that does not come: Timeout names it, it raises too, and nothing else suffers."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyccl
from pyccl.bootstrap import ThreadBootstrap
from tests import ranks

SHORT = 0.3  # seconds
AT_ONCE = 0.1  # seconds: far below any timeout, far above what a loaded machine needs to raise

LATE: dict[str, Callable[[pyccl.Communicator], Any]] = {
    "small": lambda comm: comm.all_reduce(np.ones(4), timeout=SHORT),
    "large": lambda comm: comm.all_reduce(np.ones(500_000), timeout=SHORT),
    "rooted": lambda comm: comm.broadcast(np.ones(4), root=0, timeout=SHORT),
    "uneven": lambda comm: comm.all_to_all(np.ones(3), send_counts=[1] * 3, recv_counts=[1] * 3, timeout=SHORT),
    "barrier": lambda comm: comm.barrier(timeout=SHORT),
    "async": lambda comm: comm.all_reduce_async(np.ones(4), timeout=SHORT).wait(),
    "plan": lambda comm: comm.plan("all_reduce", np.ones(4), timeout=SHORT)(),
}


@pytest.mark.parametrize("name", LATE)
@pytest.mark.parametrize("missing", [0, 2])
def test_the_missing_rank_is_named_and_raises_when_it_comes(name: str, missing: int) -> None:
    other = ThreadBootstrap.group(3)

    def body(comm: pyccl.Communicator) -> tuple[BaseException | None, list[BaseException | None], float]:
        with pyccl.Communicator.from_bootstrap(other[comm.rank], timeout=10) as second:
            comm.barrier()
            second.barrier()
            if comm.rank == missing:
                time.sleep(4 * SHORT)
            first = ranks.outcome(lambda: LATE[name](comm))
            later, spent = [], []
            for _ in range(10):
                start = time.monotonic()
                later.append(ranks.outcome(lambda: LATE[name](comm)))
                spent.append(time.monotonic() - start)
            ranks.usable(second)
        return first, later, statistics.median(spent)

    for rank, (first, later, spent) in enumerate(ranks.run(3, body, timeout=30)):
        assert isinstance(first, pyccl.Timeout), repr(first)
        assert isinstance(first, TimeoutError)
        assert missing in first.missing, first.missing
        assert str(missing) in str(first)
        assert "#2" in str(first), first
        if rank != missing:
            assert first.missing == (missing,)
        assert all(isinstance(e, pyccl.Timeout) for e in later), later
        assert spent < AT_ONCE, f"later calls must raise at once, took {spent:.3f} s"


def test_several_missing_ranks_are_all_named() -> None:
    def body(comm: pyccl.Communicator) -> BaseException | None:
        if comm.rank in (1, 4):
            time.sleep(3 * SHORT)
            return None
        return ranks.outcome(lambda: comm.reduce(np.ones(3, "f4"), "max", root=2, timeout=SHORT))

    errors = ranks.run(5, body)
    kept = [e for e in errors if e is not None]
    assert len(kept) == 3
    assert all(isinstance(e, pyccl.Timeout) and set(e.missing) <= {1, 4} for e in kept), kept
    assert any(e.missing == (1, 4) for e in kept), kept
    for word in ("reduce(", "float32", "count=3", "op=max", "root=2", "#1", f"{SHORT:g}"):
        assert any(word in str(e) for e in kept), (word, kept)


def test_one_call_too_many_ends_at_its_deadline() -> None:
    def body(comm: pyccl.Communicator) -> BaseException | None:
        for _ in range(5):
            comm.all_reduce(np.ones(2))
        if comm.rank != 1:
            done.wait(10)
            return None
        error = ranks.outcome(lambda: comm.barrier(timeout=SHORT))
        done.set()
        return error

    done = threading.Event()
    errors = ranks.run(3, body)
    assert errors[0] is errors[2] is None
    assert isinstance(errors[1], pyccl.Timeout)
    assert errors[1].missing == (0, 2)
    assert "#6" in str(errors[1])


def test_one_call_too_many_ends_at_once_where_the_others_have_closed() -> None:
    def body(comm: pyccl.Communicator) -> BaseException | None:
        comm.barrier()
        return ranks.outcome(lambda: comm.barrier(timeout=60)) if comm.rank == 1 else None

    error = ranks.run(3, body)[1]
    assert isinstance(error, pyccl.PeerLost)
    assert "left before it finished barrier() #2" in str(error)


def test_lateness_within_the_timeout_is_no_error() -> None:
    def body(comm: pyccl.Communicator) -> None:
        for late in range(comm.size):
            if comm.rank == late:
                time.sleep(0.3)  # longer than any spinning and several futex slices
            assert comm.all_reduce(np.full(3, comm.rank)).tolist() == [6] * 3

    ranks.run(4, body)


def test_operations_queued_behind_the_one_that_fails_fail_too() -> None:
    def body(comm: pyccl.Communicator) -> list[BaseException | None]:
        if comm.rank == 0:
            time.sleep(4 * SHORT)
            return []
        works = [comm.all_reduce_async(np.ones(4), timeout=SHORT) for _ in range(4)]
        errors = [ranks.outcome(work.wait) for work in works]
        return [*errors, ranks.outcome(works[0].wait), ranks.outcome(works[0].result)]

    for errors in ranks.run(3, body)[1:]:
        assert [type(e) for e in errors] == [pyccl.Timeout] * 6


def test_the_communicators_own_timeout_is_the_default() -> None:
    def body(comm: pyccl.Communicator) -> BaseException | None:
        if comm.rank == 0:
            time.sleep(4 * SHORT)
            return None
        return ranks.outcome(lambda: comm.all_gather(np.ones(1)))

    for error in ranks.run(2, body, timeout=SHORT)[1:]:
        assert isinstance(error, pyccl.Timeout)
        assert f"{SHORT:g}" in str(error)
