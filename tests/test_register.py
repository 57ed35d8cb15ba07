"""comm.register: an array becomes registered where it lies, works like one of comm.empty, and becomes private again."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pyccl
from tests import mpi, ranks
from tests.calls import BLOCKED, Case
from tests.pages import PAGE, aligned, inside, moved, whole_pages

LARGE = 3 << 20  # bytes: more than a huge page, whatever its address


def copies_without_staging(comm: pyccl.Communicator, x: Any, want: Any) -> None:
    """Assert that all_reduce of x in place is right and reaches the peers' arrays directly."""
    before = comm._core.direct_runs
    comm.all_reduce(x, out=x)
    assert np.array_equal(x, want)
    assert comm._core.direct_runs == before + (comm.size > 1)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    size=st.integers(2, 4),
    nbytes=st.sampled_from([0, 8, 800, PAGE - 8, PAGE, PAGE + 8, 3 * PAGE, 10 * PAGE + 16, LARGE]),
    extra=st.integers(0, 40),
    offsets=st.lists(st.sampled_from([0, 8, 16, 2048, PAGE - 8, PAGE, PAGE + 24]), min_size=4, max_size=4),
)
def test_wherever_it_lies_and_whatever_lies_beside_it(size: int, nbytes: int, extra: int, offsets: list[int]) -> None:
    count = nbytes // 8 + extra

    def body(comm: pyccl.Communicator) -> None:
        arena = aligned(count * 8 + 4 * PAGE)
        arena[:] = np.arange(arena.size) * 7 + comm.rank
        x = inside(arena, offsets[comm.rank], count)
        x[:] = np.arange(count) + comm.rank
        kept = arena.copy()
        total = np.arange(count) * size + sum(range(size))
        other = np.zeros(count, np.int64)
        with comm.register(x) as handle, comm.register(other):
            assert handle.array is x
            assert np.array_equal(arena, kept)
            assert moved(x) == whole_pages(x)
            comm.all_reduce(x, out=other)
            assert np.array_equal(other, total)
            assert np.array_equal(arena, kept)
            arena[: offsets[comm.rank]] += 1  # neighbours in the same page belong to others
            kept[: offsets[comm.rank]] += 1
            copies_without_staging(comm, x, total)
            part = slice(count // 3, count - count // 4)
            copies_without_staging(comm, x[part], total[part] * size)
        inside(kept, offsets[comm.rank], count)[:] = total
        inside(kept, offsets[comm.rank], count)[part] *= size
        assert handle.closed
        assert np.array_equal(arena, kept)
        assert moved(arena) == 0
        copy = inside(kept, offsets[comm.rank], count).copy()
        assert comm.all_reduce(copy, "max", out=copy) is copy

    ranks.run(size, body)


def registered_place(comm: pyccl.Communicator, kept: list[Any]) -> Any:
    """Return what puts an array in registered memory, at another offset on every rank."""

    def place(x: Any) -> Any:
        sizes = comm.all_gather(np.array([x.nbytes]))
        arena = aligned(int(sizes.max()) + 2 * PAGE)
        room = arena[8 * comm.rank :][: int(sizes.max())]
        kept.append(comm.register(room))
        fresh = room[: x.nbytes].view(x.dtype).reshape(x.shape)
        fresh[...] = x
        return fresh

    return place


@pytest.mark.parametrize("style", ["out", "in place"])
@pytest.mark.parametrize("collective", ["all_reduce", "broadcast", "all_to_all", "reduce", *BLOCKED])
def test_every_collective(collective: str, style: str) -> None:
    def body(comm: pyccl.Communicator) -> list[str]:
        wrong = []
        for count in (0, 1, 7, 1000, 70_001):
            for uneven in (False, True) if collective in BLOCKED else (False,):
                case = Case(collective, "auto", comm.size, count, root=1, uneven=uneven, style=style)
                kept: list[Any] = []
                wrong.append(case.run(comm, registered_place(comm, kept) if collective not in rooted else None))
                for handle in kept:
                    handle.close()
        return [text for text in wrong if text]

    rooted = ("reduce", "gather", "scatter")  # their arrays differ in number between ranks
    assert ranks.run(3, body) == [[]] * 3


@pytest.mark.parametrize("memory", ["register", "empty"])
@pytest.mark.parametrize("count", [9, 3001, 40_000])
def test_own_block_in_place_needs_no_staging(memory: str, count: int) -> None:
    """The block's place in its array differs from rank to rank; the array's does not."""

    def body(comm: pyccl.Communicator) -> None:
        x = np.arange(count) if memory == "register" else comm.empty(count, "int64")
        x[:] = np.arange(count) * (comm.rank + 1)
        if memory == "register":
            comm.register(x)
        blocks = np.array_split(x, comm.size)
        before = comm._core.direct_runs
        comm.reduce_scatter(x, out=blocks[comm.rank])
        total = np.arange(count) * sum(range(1, comm.size + 1))
        assert np.array_equal(blocks[comm.rank], np.array_split(total, comm.size)[comm.rank])
        assert comm._core.direct_runs == before + 1
        comm.all_gather(blocks[comm.rank], out=x)
        assert np.array_equal(x, total)
        assert comm._core.direct_runs == before + 2
        block = blocks[comm.rank].copy() if comm.rank == 1 else blocks[comm.rank]
        x[:] = 0
        comm.all_gather(block, out=x)  # one rank brings another array: staged
        assert np.array_equal(blocks[1], np.array_split(total, comm.size)[1])
        assert comm._core.direct_runs == before + 2

    ranks.run(3, body)


def test_one_rank_private_or_closed_is_staged() -> None:
    def body(comm: pyccl.Communicator) -> None:
        x, spare = np.ones(5000), np.ones(5000)
        handle = comm.register(x)
        copies_without_staging(comm, x, np.full(5000, comm.size))
        before = comm._core.direct_runs
        mine = spare if comm.rank == 1 else x
        mine[:] = 1
        comm.all_reduce(mine, out=mine)
        assert (mine == comm.size).all()
        if comm.rank == 0:
            handle.close()
        mine[:] = 1
        comm.all_reduce(mine, out=mine)
        assert (mine == comm.size).all()
        assert comm._core.direct_runs == before

    ranks.run(3, body)


def test_plans_and_asynchronous_work_outlive_the_registration() -> None:
    def body(comm: pyccl.Communicator) -> None:
        x = np.ones(10_000)
        early = comm.plan("all_reduce", x, "max", out=x)
        handle = comm.register(x)
        plan = comm.plan("all_reduce", x, out=x)
        before = comm._core.direct_runs
        plan()
        assert comm._core.direct_runs == before + 1
        works = [comm.all_reduce_async(x, out=x) for _ in range(3)]
        handle.close()  # behind them
        assert all(work.done() for work in works)
        assert (x == comm.size**4).all()
        assert comm._core.direct_runs == before + 4
        plan()
        early()
        assert (x == comm.size**5).all()
        assert comm._core.direct_runs == before + 4
        with comm.register(x):
            plan()
        assert (x == comm.size**6).all()
        handle.close()

    ranks.run(2, body)


def test_the_array_is_kept_and_given_back() -> None:
    class Owner(np.ndarray[Any, Any]):
        pass

    def body(comm: pyccl.Communicator) -> None:
        x = np.ones(9000).view(Owner)
        seen = weakref.ref(x)
        comm.register(x)
        del x
        gc.collect()
        kept = seen()
        assert kept is not None
        comm.all_reduce(np.asarray(kept), out=np.asarray(kept))
        comm.close()
        assert (np.asarray(kept) == comm.size).all()
        assert moved(kept) == 0
        del kept
        gc.collect()
        assert seen() is None

    ranks.run(2, body)


def test_a_timeout_leaves_the_array_valid() -> None:
    def body(comm: pyccl.Communicator) -> None:
        x, late = np.ones(20_000), np.ones(20_000)
        handle = comm.register(x)
        comm.barrier()
        if comm.rank == 0:
            with pytest.raises(pyccl.Timeout):
                comm.all_reduce(x, out=x, timeout=0.2)
            with pytest.raises(pyccl.Timeout):
                comm.register(late)
            assert moved(late) == 0
            x[:] = 5
            handle.close()
            assert (x == 5).all()
            assert moved(x) == 0
            done.set()
        else:
            done.wait(10)  # who has closed would not be waited for

    done = threading.Event()
    ranks.run(2, body)


def test_a_timeout_during_the_call_changes_nothing() -> None:
    def body(comm: pyccl.Communicator) -> None:
        x = np.arange(20_000)
        if comm.rank == 0:
            with pytest.raises(pyccl.Timeout, match="register"):
                comm.register(x)
            assert moved(x) == 0
            assert np.array_equal(x, np.arange(20_000))
            done.set()
        else:
            done.wait(10)

    done = threading.Event()
    ranks.run(2, body, timeout=0.3)


@pytest.mark.torch
def test_torch_tensors() -> None:
    import torch

    def body(comm: pyccl.Communicator) -> None:
        for count in (3, 5000, 600_001):
            x = torch.arange(count, dtype=torch.float32)
            where = x.data_ptr()
            with comm.register(x) as handle:
                assert handle.nbytes == 4 * count
                before = comm._core.direct_runs
                comm.all_reduce(x[1:], out=x[1:])
                assert comm._core.direct_runs == before + 1
                x += 1  # torch's own kernels write it
            assert x.data_ptr() == where
            want = torch.arange(count, dtype=torch.float32) * comm.size + 1
            want[0] = 1
            assert torch.equal(x, want)
            assert moved(x.numpy()) == 0
        module = torch.nn.Linear(300, 300)
        for parameter in module.parameters():
            comm.register(parameter)
        module(torch.ones(4, 300)).sum().backward()

    ranks.run(2, body)


@mpi.check(sizes=(2, 4))
def processes(comm: pyccl.Communicator) -> None:
    for count in (10, 1000, 600_000):
        arena = aligned(count * 8 + 2 * PAGE)
        x = inside(arena, 8 * comm.rank + 16, count)
        x[:] = np.arange(count) + comm.rank
        with comm.register(x):
            copies_without_staging(comm, x, np.arange(count) * comm.size + sum(range(comm.size)))
            x[:] = comm.rank
            comm.broadcast(x, root=1)
            assert (x == 1).all()
        assert moved(arena) == 0
        assert (x == 1).all()


test_mpi = mpi.checks(globals())
