"""A pairwise cover of what a call may be, under mpirun, over shared memory, messages and pretended nodes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import pyccl
from pyccl.algorithms import algorithms, get_algorithm
from pyccl.collectives import COLLECTIVES
from tests import mpi
from tests.calls import BLOCKED, Case, failures, registered

DTYPES = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
DTYPES += ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
OPS = ("sum", "avg", "prod", "min", "max", "band", "bor", "bxor")
COUNTS = (0, 1, 5, 8, 997, 70_001)
STYLES = ("new", "out", "in place")


def pairwise(choices: Sequence[Sequence[Any]], seed: int) -> Iterator[tuple[Any, ...]]:
    """Yield rows in which every two values of two columns meet at least once (greedy, repeatable)."""
    draw = random.Random(seed)
    columns = list(itertools.combinations(range(len(choices)), 2))
    open_ = {(a, b, x, y) for a, b in columns for x in range(len(choices[a])) for y in range(len(choices[b]))}
    while open_:
        a, b, x, y = min(open_)
        rows = []
        for _ in range(20):
            row = [draw.randrange(len(c)) for c in choices]
            row[a], row[b] = x, y
            rows.append((sum((i, j, row[i], row[j]) in open_ for i, j in columns), row))
        row = max(rows)[1]
        open_ -= {(i, j, row[i], row[j]) for i, j in columns}
        yield tuple(choice[i] for choice, i in zip(choices, row, strict=True))


def moves(size: int) -> list[Case]:
    """Every algorithm of every collective with every count, style and evenness, in int64."""
    found, turn = [], 0
    for collective in COLLECTIVES:
        blocked = collective in BLOCKED or collective == "all_to_all"
        every = (algorithms(collective, size), COUNTS, STYLES, (False, True) if blocked else (False,))
        for algorithm, count, style, uneven in pairwise(every, seed=size):
            turn += 1
            count = count // size if collective == "all_to_all" else count
            found.append(Case(collective, algorithm, size, count, turn % size, uneven, style))
    return found


@mpi.check()
def every_algorithm_moves_the_right_elements(comm: pyccl.Communicator) -> None:
    cases = moves(comm.size)
    wrong = failures(comm, cases)
    small = [c for c in cases if c.count < 1000 and even(c)]
    wrong += [f"registered: {text}" for text in failures(comm, small, registered(comm))]
    assert not wrong, "\n".join(wrong[:10])


def even(case: Case) -> bool:
    """Say whether all ranks' arrays have one size, as `empty` demands."""
    sizes = [{x.nbytes for x in arrays} for arrays in (case.inputs, case.outputs)]
    rooted = case.collective in ("reduce", "gather", "scatter")
    return not case.uneven and all(len(s) == 1 for s in sizes) and not rooted


def reductions(size: int) -> list[tuple[str, str, str, str, int, bool]]:
    names = [(c, a) for c in ("all_reduce", "reduce", "reduce_scatter") for a in algorithms(c, size)]
    rows = pairwise((names, DTYPES, OPS, (0, 1, 33, 5000), (False, True)), seed=100 + size)
    return [(*name, dtype, op, count, inplace) for name, dtype, op, count, inplace in rows if defined(op, dtype)]


def defined(op: str, dtype: str) -> bool:
    return dtype in pyccl.ops.resolve_op(op).dtypes


def inputs(dtype: str, op: str, count: int, rank: int) -> Any:
    """Return values whose reduction is exact in any order: small, powers of two for products."""
    draw = np.random.default_rng([count, rank])
    kind = pyccl.arrays.dtype_of(dtype)
    values = 2 ** draw.integers(0, 2, count) if op == "prod" else draw.integers(0, 8, count)
    return values.astype(kind)


def oracle(op: str, xs: list[Any]) -> Any:
    kind = xs[0].dtype
    functions = {"sum": np.add, "avg": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum}
    functions |= {"band": np.bitwise_and, "bor": np.bitwise_or, "bxor": np.bitwise_xor}
    wide = kind if kind.kind not in "fV" or kind.itemsize > 2 else np.dtype(np.float32)
    total = xs[0].astype(wide)
    for x in xs[1:]:
        total = functions[op](total, x.astype(wide)).astype(wide)
    if op == "avg":  # by components: NumPy's division of complex numbers rounds more than once
        parts = total.view(total.real.dtype)
        parts /= parts.dtype.type(len(xs))
    return total.astype(kind)


@mpi.check()
def every_operation_computes_on_every_dtype(comm: pyccl.Communicator) -> None:
    wrong = []
    for name, algorithm, dtype, op, count, inplace in reductions(comm.size):
        xs = [inputs(dtype, op, count, r) for r in range(comm.size)]
        want, x = oracle(op, xs), xs[comm.rank].copy()
        options = {"algorithm": algorithm}
        if name == "reduce_scatter":
            low, high = pyccl.collectives.chunk_range(count, comm.size, comm.rank)
            want, out = want[low:high], x[low:high]
        else:
            out = x
        if name == "reduce":
            options["root"] = comm.size - 1
        got = getattr(comm, name)(x, op, out=out if inplace else None, **options)
        if name == "reduce" and comm.rank != comm.size - 1:
            continue
        if got.dtype != want.dtype or got.tobytes() != want.tobytes():
            wrong.append(f"{name}/{algorithm} {dtype} {op} count={count} {inplace}: got {got[:5]}, expected {want[:5]}")
    assert not wrong, f"{len(wrong)} wrong\n" + "\n".join(wrong[:10])


@mpi.check(sizes=(2, 3, 5))
def long_vectors_arrive_in_order(comm: pyccl.Communicator) -> None:
    """Many segments in flight at once, ranks at different speeds: each must meet its own."""
    n = 3_000_001
    for algorithm in algorithms("all_reduce", comm.size):
        x = np.arange(n, dtype=np.int64) * (comm.rank + 1)
        total = comm.size * (comm.size + 1) // 2
        got = comm.all_reduce(x, algorithm=algorithm)
        assert np.array_equal(got, np.arange(n) * total), algorithm
    for algorithm in algorithms("broadcast", comm.size):
        x = np.arange(n) if comm.rank == 1 else np.zeros(n, np.int64)
        assert np.array_equal(comm.broadcast(x, root=1, algorithm=algorithm), np.arange(n)), algorithm


@mpi.check(sizes=(2, 3, 5, 8))
def rank_order_algorithms_give_the_same_bits(comm: pyccl.Communicator) -> None:
    for dtype in ("float32", "bfloat16", "complex64"):
        xs = [random_floats(dtype, 40_000, r) for r in range(comm.size)]
        want = in_rank_order(xs).tobytes()
        for name in algorithms("all_reduce", comm.size):
            if get_algorithm("all_reduce", name).order == "rank":
                assert comm.all_reduce(xs[comm.rank], algorithm=name).tobytes() == want, (dtype, name)


def random_floats(dtype: str, count: int, rank: int) -> Any:
    draw = np.random.default_rng([7, rank])
    values = draw.standard_normal(count) * 10.0 ** draw.integers(-4, 4, count)
    return (values + 1j * values[::-1] if dtype.startswith("c") else values).astype(pyccl.arrays.dtype_of(dtype))


def in_rank_order(xs: list[Any]) -> Any:
    """Return the n-ary sum in rank order; 16-bit types in float32, rounded once."""
    wide = np.float32 if xs[0].dtype.itemsize == 2 else xs[0].dtype
    total = xs[0].astype(wide)
    for x in xs[1:]:
        total = total + x.astype(wide)
    return total.astype(xs[0].dtype)


@mpi.check(sizes=(2, 3, 4, 5, 8))
def mismatches_raise_on_every_rank(comm: pyccl.Communicator) -> None:
    last, x, counts = comm.rank == comm.size - 1, np.ones(6 * comm.size), [6] * comm.size
    calls = [
        lambda: comm.all_reduce(x, "max" if last else "sum"),
        lambda: comm.all_reduce(x.astype("f4") if last else x),
        lambda: comm.broadcast(x, root=int(last)),
        lambda: comm.barrier() if last else comm.all_gather(x),
        lambda: comm.all_to_all(x, send_counts=counts, recv_counts=counts) if last else comm.all_to_all(x),
        lambda: comm.all_to_all(x, send_counts=counts, recv_counts=[6 + last, *counts[1:]]),
        lambda: comm.empty(4 + last),
    ]
    for number, call in enumerate(calls):
        with pytest.raises(pyccl.MismatchError, match=f"rank {comm.size - 1}"):
            call()
        assert comm.all_reduce(np.ones(3))[0] == comm.size, number


@mpi.check(sizes=(2, 3, 4, 5, 8))
def bad_arguments_are_refused_everywhere(comm: pyccl.Communicator) -> None:
    for odd in {0, comm.size // 2, comm.size - 1}:
        for form in ("all_reduce", "all_reduce_async"):
            out = np.full(4, 77.0)
            call = getattr(comm, form)
            if comm.rank == odd:
                with pytest.raises(ValueError, match="x must be C-contiguous"):
                    call(np.ones(8)[::2])
            else:
                with pytest.raises(pyccl.PeerAborted, match="C-contiguous") as caught:  # noqa: PT012 (either may raise)
                    done = call(np.ones(4), out=out)
                    done.wait()
                assert caught.value.rank == odd
            assert (out == 77).all()
        assert comm.all_reduce(np.ones(3))[0] == comm.size


@mpi.check(sizes=(2, 3, 4, 5, 8))
def user_functions_that_fail_fail_on_every_rank(comm: pyccl.Communicator) -> None:
    pytest.importorskip("numba")

    def checked(a: float, b: float) -> float:
        if a < 0 or b < 0:
            raise ValueError("negative")
        return a + b

    op = pyccl.user_op(checked)
    assert comm.all_reduce(np.ones(10), op)[0] == comm.size
    x = np.ones(10)
    x[3] = -1 if comm.rank == 1 else 1
    with pytest.raises(pyccl.Error, match="user-defined"):
        comm.all_reduce(x, op)
    assert comm.all_reduce(np.ones(10), op)[0] == comm.size


@mpi.check(sizes=(4, 8))
def z_a_missing_rank_is_named(comm: pyccl.Communicator) -> None:
    """Last of all: the communicator does not survive it."""
    import time

    comm.barrier()
    if comm.rank == 2:
        time.sleep(8)
    with pytest.raises(pyccl.Timeout) as caught:
        comm.all_reduce(np.ones(4), timeout=3)
    if comm.rank != 2:
        # over many nodes on a crowded machine the word may come too late: then it is whoever this rank listened to
        assert caught.value.missing == (2,) or (len(set(comm.nodes)) > 4 and caught.value.missing), caught.value
    with pytest.raises(pyccl.CommError):
        comm.barrier()


test_shm = mpi.checks(globals())
test_messages = mpi.checks(globals(), {"PYCCL_TRANSPORT": "mpi"}, sizes=(2, 3, 4, 5, 8))
test_nodes_of_2 = mpi.checks(globals(), {"PYCCL_NODE_SIZE": "2"}, sizes=(3, 4, 5, 8))
test_nodes_of_3 = mpi.checks(globals(), {"PYCCL_NODE_SIZE": "3"}, sizes=(4, 5, 8))
