"""Random counts and random programs of operations, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pyccl
from pyccl.algorithms import algorithms
from pyccl.collectives import COLLECTIVES, split
from tests import oracle, ranks
from tests.calls import BLOCKED

QUIET = settings(deadline=None, max_examples=25, derandomize=True, suppress_health_check=list(HealthCheck))
COUNTS = st.one_of(st.integers(0, 3), st.integers(0, 300), st.just(0))


@st.composite
def uneven(draw: st.DrawFn) -> tuple[int, list[tuple[str, str, list[int], int]]]:
    """Return a number of ranks, and calls: collective, algorithm, counts, root."""
    size = draw(st.integers(1, 7))
    calls = []
    for _ in range(draw(st.integers(1, 6))):
        name = draw(st.sampled_from([*BLOCKED, "all_to_all"]))
        length = size * size if name == "all_to_all" else size
        counts = draw(st.lists(COUNTS, min_size=length, max_size=length))
        calls.append((name, draw(st.sampled_from(algorithms(name, size))), counts, draw(st.integers(0, size - 1))))
    return size, calls


@QUIET
@given(uneven())
def test_uneven_counts(case: tuple[int, list[tuple[str, str, list[int], int]]]) -> None:
    size, calls = case
    inputs = [oracle.make_inputs(name, size, counts, sum(counts), root) for name, _, counts, root in calls]

    def body(comm: pyccl.Communicator) -> list[Any]:
        results = []
        for (name, algorithm, counts, root), xs in zip(calls, inputs, strict=True):
            options: dict[str, Any] = {"algorithm": algorithm}
            if name == "all_to_all":
                options |= {"send_counts": counts[comm.rank * size :][:size], "recv_counts": counts[comm.rank :: size]}
            else:
                options["counts"] = counts
            if COLLECTIVES[name].rooted:
                options["root"] = root
            if name == "scatter" and comm.rank != root:
                got = comm.scatter(out=np.empty(counts[comm.rank], np.int64), **options)
            else:
                got = getattr(comm, name)(xs[comm.rank], **options)
            results.append(got)
        return results

    outcome = ranks.run(size, body)
    for i, (name, algorithm, counts, root) in enumerate(calls):
        for rank, want in enumerate(oracle.expected(name, inputs[i], root, counts)):
            got = outcome[rank][i]
            if got is None:
                assert want.size == 0
            else:
                assert np.array_equal(got, want), (name, algorithm, counts, root, rank)


OPERATIONS = ("all_reduce", "broadcast", "reduce_scatter", "all_gather", "all_to_all", "mismatch", "refused", "barrier")
ACTION = st.tuples(
    st.sampled_from(OPERATIONS),
    st.sampled_from(["call", "async", "late", "plan"]),
    st.sampled_from([1, 5, 40, 3000, 70_000]),  # elements per rank
    st.integers(0, 10**6),
)


def model(name: str, state: list[Any], root: int) -> list[Any]:
    """Return what every rank's vector of size·n elements is afterwards."""
    size, n = len(state), len(state[0]) // len(state)
    counts = split(size * n, size)
    if name in ("all_reduce", "broadcast"):
        return oracle.expected(name, state, root, counts)
    if name == "reduce_scatter":
        parts = oracle.expected(name, state, root, counts)
        return [np.concatenate([part, x[len(part) :]]) for part, x in zip(parts, state, strict=True)]
    if name == "all_gather":
        return oracle.expected(name, [x[:n] for x in state], root, counts)
    if name == "all_to_all":
        return oracle.expected(name, state, root, (n,) * (size * size))
    return state


def act(comm: pyccl.Communicator, name: str, form: str, x: Any, root: int) -> Any:
    """Make one step of a program; return the work to wait for later, if any."""
    n, r = len(x) // comm.size, comm.rank
    args: tuple[Any, ...] = (x,)
    options: dict[str, Any] = {"out": x}
    if name == "broadcast":
        options = {"root": root}
    elif name == "reduce_scatter":
        args, options = (x.copy(),), {"out": x[:n]}
    elif name == "all_gather":
        args = (x[:n].copy(),)
    elif name == "all_to_all":
        args = (x.copy(),)
    elif name == "barrier":
        args, options = (), {}
    elif name == "mismatch":
        name, options = "all_reduce", {"out": x, "op": "max" if r == root else "sum"}
    elif name == "refused":
        name, args, options = "all_reduce", (x[::-1] if r == root else x,), {}
    if form in ("async", "late"):
        work = getattr(comm, f"{name}_async")(*args, **options)
        return work if form == "late" else work.wait()
    return comm.plan(name, *args, **options)() if form == "plan" else getattr(comm, name)(*args, **options)


@QUIET
@given(
    size=st.integers(2, 6),
    memory=st.sampled_from(["private", "empty", "register"]),
    program=st.lists(ACTION, min_size=1, max_size=12),
)
def test_random_programs(size: int, memory: str, program: list[tuple[str, str, int, int]]) -> None:
    """Any mixture of blocking, asynchronous and planned operations, of mismatches and refusals in between."""
    start = {n: [np.arange(size * n) % 1009 + r for r in range(size)] for _, _, n, _ in program}
    wanted = dict(start)
    for name, _, n, number in program:
        with np.errstate(over="ignore"):
            wanted[n] = model(name, wanted[n], number % size)

    def body(comm: pyccl.Communicator) -> dict[int, Any]:
        state = {}
        for n, xs in start.items():
            state[n] = comm.empty(size * n, "int64") if memory == "empty" else np.empty(size * n, np.int64)
            state[n][:] = xs[comm.rank]
            if memory == "register":
                comm.register(state[n])
        works = []
        for name, form, n, number in program:
            root = number % size
            if name in ("mismatch", "refused"):
                form = "async" if form == "late" else form
                good = (
                    pyccl.MismatchError
                    if name == "mismatch"
                    else ValueError
                    if comm.rank == root
                    else pyccl.PeerAborted
                )
                with pytest.raises(good):
                    act(comm, name, form, state[n], root)
            elif form == "late":
                works.append(act(comm, name, form, state[n], root))
            else:
                while works and name in ("reduce_scatter", "all_gather", "all_to_all"):
                    works.pop().wait()  # these copy their input first
                act(comm, name, form, state[n], root)
            if name in ("reduce_scatter", "all_gather", "all_to_all"):
                while works:
                    works.pop().wait()
        for work in works:
            work.wait()
        return state

    for rank, state in enumerate(ranks.run(size, body)):
        for n, x in state.items():
            assert np.array_equal(x, wanted[n][rank]), (rank, n)
