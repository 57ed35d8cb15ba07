"""Arrays, ids and calls that a parameter server cannot take: a clear error, nothing applied, and it lives on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import pyccl
from pyccl import initializers, optim
from pyccl.server import RowRules
from tests import mpi

ONES = np.ones((2, 3), np.float32)
ONES.flags.writeable = False


def tables(ps: pyccl.ParameterServer, **more: Any) -> None:
    ps.table("w", init=np.zeros((2, 3), np.float32), optimizer=optim.SGD(1.0), **more)
    ps.table("e", sparse=True, dim=3, init=initializers.Zeros(), optimizer=optim.SGD(1.0), **more)


def untouched(ps: pyccl.ParameterServer) -> None:
    assert (ps.pull("w") == 0).all()
    assert (ps.pull("e", ids=[0, 1, 2**63 - 1]) == 0).all()


BAD_IDS = {
    "negative": ([0, -1], ValueError, "negative|from 0"),
    "least": (np.array([0, -(2**63)]), ValueError, "negative|from 0"),
    "real": ([0.0, 1.0], TypeError, "integers"),
    "bool": ([True, False], TypeError, "integers"),
    "text": (["a", "b"], TypeError, "integers"),
    "uint64": (np.array([0, 2**63], np.uint64), ValueError, r"below 2\*\*63"),
    "beyond": ([0, 2**64], (TypeError, ValueError, OverflowError), ""),
    "matrix": (np.zeros((2, 1), np.int64), ValueError, "shape"),
    "number": (5, ValueError, "shape"),
    "fewer": ([1], ValueError, "shape"),
}


@mpi.check(sizes=(1, 2), cases=list(BAD_IDS))
def ids_that_are_none(comm: pyccl.Communicator, case: str) -> None:
    ids, error, words = BAD_IDS[case]
    with pyccl.ParameterServer(comm) as ps:
        tables(ps)
        with pytest.raises(error, match=words):
            ps.push("e", ONES, ids=ids)
        if case != "fewer":
            with pytest.raises(error, match=words):
                ps.pull("e", ids=ids)
        untouched(ps)


@mpi.check(sizes=(1, 3))
def ids_of_every_size_and_kind(comm: pyccl.Communicator) -> None:
    """Up to 2**63 - 1, as any integer, in any stride and byte order; none at all, too."""
    wide = np.array([2**31 - 1, 2**31, 2**32 + 5, 2**63 - 1, 0])
    with pyccl.ParameterServer(comm) as ps:
        tables(ps)
        comm.barrier()
        for ids in (wide, wide.astype(np.uint64), wide.astype(">i8"), np.repeat(wide, 2)[::2], wide.tolist()):
            ps.push("e", np.ones((5, 3), np.float32), ids=ids)
        for kind in (np.uint8, np.int16, np.uint32):
            ps.push("e", np.ones((1, 3), np.float32), ids=np.array([7], kind))
        ps.push("e", np.ones((0, 3), np.float32), ids=[])
        comm.barrier()
        assert (ps.pull("e", ids=wide) == -5 * comm.size).all()
        assert (ps.pull("e", ids=[7]) == -3 * comm.size).all()
        assert ps.pull("e", ids=[]).shape == (0, 3)
        assert (ps.pull("e", ids=[2**63 - 2, 2**31 + 1]) == 0).all()


BAD_ARRAYS: dict[str, tuple[Any, type[Exception], str]] = {
    "strided": (np.ones((2, 6), np.float32)[:, ::2], ValueError, "contiguous"),
    "Fortran": (np.asfortranarray(ONES), ValueError, "contiguous"),
    "big-endian": (ONES.astype(">f4"), TypeError, "byte order|dtype"),
    "float64": (ONES.astype(np.float64), TypeError, "float32"),
    "float16": (ONES.astype(np.float16), TypeError, "float32"),
    "object": (ONES.astype(object), TypeError, "dtype"),
    "list": (ONES.tolist(), TypeError, "array"),
    "none": (None, TypeError, "array"),
    "masked": (np.ma.MaskedArray(ONES), TypeError, "masked"),
    "flat": (ONES.reshape(-1), ValueError, "shape"),
    "turned": (np.ones((3, 2), np.float32), ValueError, "shape"),
    "empty": (np.ones((0, 3), np.float32), ValueError, "shape"),
}


@mpi.check(sizes=(1,), cases=list(BAD_ARRAYS))
def gradients_that_are_none(comm: pyccl.Communicator, case: str) -> None:
    array, error, words = BAD_ARRAYS[case]
    with pyccl.ParameterServer(comm) as ps:
        tables(ps)
        for push in (ps.push, ps.push_async, ps.push_pull):
            with pytest.raises(error, match=words):
                push("w", array)
        with pytest.raises(error, match=words):
            ps.push("e", array, ids=[0, 1])
        if case not in ("none", "flat", "turned"):  # out of another shape is filled, if it has as many elements
            with pytest.raises((ValueError, TypeError)):
                ps.pull("w", out=array)
        untouched(ps)


@mpi.check(sizes=(1,))
def arrays_that_may_only_be_read(comm: pyccl.Communicator) -> None:
    fixed = ONES.copy()
    fixed.flags.writeable = False
    with pyccl.ParameterServer(comm) as ps:
        ps.table("w", init=fixed, optimizer=optim.SGD(1.0))
        ps.push("w", fixed)
        with pytest.raises(ValueError, match=r"read-only|writable"):
            ps.pull("w", out=fixed)
        assert (ps.pull("w") == 0).all()
        assert (fixed == 1).all()


@mpi.check(sizes=(1, 2), cases=["raise", "skip", "pass"])
def gradients_that_are_not_finite(comm: pyccl.Communicator, case: str) -> None:
    with pyccl.ParameterServer(comm) as ps:
        tables(ps, nan=case)
        for value in (np.nan, np.inf, -np.inf):
            bad = ONES.copy()
            bad[1, 2] = value
            if case == "raise":
                with pytest.raises(ValueError, match="not finite: element 5"):
                    ps.push("w", bad)
                with pytest.raises(ValueError, match="not finite: element 5"):
                    ps.push("e", bad, ids=[0, 1])
            else:
                ps.push("w", bad)
                ps.push("e", bad, ids=[0, 1])
            if case != "pass":
                untouched(ps)
        if case == "pass":
            for got in (ps.pull("w"), ps.pull("e", ids=[0, 1])):
                assert np.isnan(got[1, 2])
                assert np.isfinite(got.reshape(-1)[:5]).all()


@mpi.check(sizes=(2,), cases=["raise", "skip", "pass"])
def rows_whose_sum_is_not_finite(comm: pyccl.Communicator, case: str) -> None:
    """Each is, on its wire."""
    ids = np.array([3, 5, 3])
    with pyccl.ParameterServer(comm) as ps:
        for wire, value in (("float16", 4e4), ("bfloat16", 2e38), ("float32", 2e38)):
            zeros = initializers.Zeros()
            ps.table(wire, sparse=True, dim=3, init=zeros, optimizer=optim.SGD(1.0), wire=wire, nan=case)
            rows = np.full((3, 3), -value, np.float32)
            if comm.rank == 0:
                with pytest.raises(ValueError, match="sum is not finite") if case == "raise" else nullcontext():
                    ps.push(wire, rows, ids=ids)
            comm.barrier()
            assert (np.isinf(ps.pull(wire, ids=[3])).all(), ps.pull(wire, ids=[5]).all()) == (
                (True, True) if case == "pass" else (False, False)
            )
            comm.barrier()
            ps.push(wire, np.full((3, 3), -1, np.float32), ids=ids + 100)
            assert (ps.pull(wire, ids=[103]) >= 2).all()


@mpi.check(sizes=(1,), cases=["Sync()", "Async()", "SSP(1)", "KAsync(1)"])
def a_gradient_that_overflows_its_wire(comm: pyccl.Communicator, case: str) -> None:
    """1e6 is finite, and is none of float16: what the policy says of others holds for it."""
    with pyccl.ParameterServer(comm, consistency=eval(f"pyccl.{case}")) as ps:
        ps.table("w", init=np.zeros((2, 3), np.float32), optimizer=optim.SGD(1.0), wire="float16")
        with pytest.raises(ValueError, match="float16"):
            ps.push("w", 1e6 * ONES)
        with pytest.raises(ValueError, match="float16"):
            ps.push_pull("w", -1e6 * ONES)
        assert (ps.pull("w") == 0).all()
        ps.push("w", 65504 * ONES)
        assert (ps.pull("w") == -65504).all()


@mpi.check(sizes=(2,))
def a_server_is_no_worker(comm: pyccl.Communicator) -> None:
    with pyccl.ParameterServer(comm, servers=1) as ps:
        tables(ps)
        calls: list[Callable[[], object]] = [
            lambda: ps.push("w", ONES), lambda: ps.push("e", ONES, ids=[0, 1]), lambda: ps.pull("w"),
            lambda: ps.pull("e", ids=[0]), lambda: ps.push_pull("w", ONES), ps.clock, ps.finish,
            lambda: ps.save("nowhere"), ps.staleness_histogram,
        ]  # fmt: skip
        if comm.rank == 1:
            for call in calls:
                with pytest.raises(pyccl.CommError, match="rank 1 is a server, not a worker"):
                    call()
            with ps.serve():
                pass
        else:
            untouched(ps)


@mpi.check(sizes=(1, 2))
def closed_twice_and_used_after(comm: pyccl.Communicator) -> None:
    ps = pyccl.ParameterServer(comm)
    tables(ps)
    work = ps.push_async("w", ONES)
    work.wait()
    ps.close()
    ps.close()
    calls: list[Callable[[], object]] = [
        lambda: ps.push("w", ONES), lambda: ps.pull("w"), lambda: ps.push_pull("w", ONES), ps.clock, ps.finish,
        lambda: ps.save("nowhere"), lambda: ps.load("nowhere"), ps.stats, ps.staleness_histogram,
        lambda: ps.table("v", init=ONES, optimizer=optim.SGD(1.0)), lambda: ps.serve().__enter__(),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(pyccl.CommError, match="closed"):
            call()
    assert work.done()
    comm.barrier()


BAD_TABLES: dict[str, dict[str, Any]] = {
    "twice": {"name": "w"},
    "no name": {"name": ""},
    "no text": {"name": 3},
    "float64": {"init": np.zeros(3)},
    "nothing": {"init": np.zeros(0, np.float32)},
    "optimizer": {"optimizer": "sgd"},
    "wire": {"wire": "float8"},
    "nan": {"nan": "ignore"},
    "policy": {"consistency": 3},
    "dim": {"dim": 3},
    "no dim": {"sparse": True, "init": initializers.Zeros()},
    "dim 0": {"sparse": True, "init": initializers.Zeros(), "dim": 0},
    "dim too large": {"sparse": True, "init": initializers.Zeros(), "dim": 8193},
    "rows of an array": {"sparse": True, "dim": 3},
    "rules": {"rules": RowRules()},
}


@mpi.check(sizes=(1, 2), cases=list(BAD_TABLES))
def tables_that_cannot_be(comm: pyccl.Communicator, case: str) -> None:
    arguments = {"name": "v", "init": ONES, "optimizer": optim.SGD(1.0), **BAD_TABLES[case]}
    with pyccl.ParameterServer(comm) as ps:
        tables(ps)
        with pytest.raises((ValueError, TypeError)):
            ps.table(arguments.pop("name"), **arguments)
        untouched(ps)
        with pytest.raises(ValueError, match="no table 'v'"):
            ps.pull("v")


@mpi.check(sizes=(2, 3), cases=["dim", "seed", "rules", "optimizer", "policy", "wire", "nan", "name", "kind"])
def tables_that_differ(comm: pyccl.Communicator, case: str) -> None:
    same: dict[str, Any] = {"sparse": True, "dim": 3, "init": initializers.Normal(seed=1), "optimizer": optim.SGD(1.0)}
    other: dict[str, Any] = {
        "dim": {"dim": 4}, "seed": {"init": initializers.Normal(seed=2)}, "rules": {"rules": RowRules(after=2)},
        "optimizer": {"optimizer": optim.SGD(0.5)}, "policy": {"consistency": pyccl.SSP(3)},
        "wire": {"wire": "int8"}, "nan": {"nan": "skip"}, "name": {},
        "kind": {"sparse": False, "dim": None, "init": ONES},
    }[case]  # fmt: skip
    odd = comm.rank == comm.size - 1
    with pyccl.ParameterServer(comm) as ps:
        tables(ps)
        with pytest.raises(pyccl.ConfigError, match=f"rank {comm.size - 1}"):
            ps.table("x" if odd and case == "name" else "v", **{**same, **(other if odd else {})})
        untouched(ps)
        ps.table("v", **same)
        assert ps.pull("v", ids=[1]).shape == (1, 3)


@mpi.check(sizes=(2, 3), cases=["size", "half", -1, True, "more than all"])
def replicas_that_cannot_be(comm: pyccl.Communicator, case: Any) -> None:
    copies = {"size": comm.size, "half": 0.5, "more than all": 100}.get(case, case)
    with pytest.raises((pyccl.ConfigError, ValueError, TypeError)):
        pyccl.ParameterServer(comm, replicas=copies)
    with pytest.raises((pyccl.ConfigError, ValueError)):
        pyccl.ParameterServer(comm, servers=1, replicas=1)
    comm.barrier()


test_mpi = mpi.checks(globals())
