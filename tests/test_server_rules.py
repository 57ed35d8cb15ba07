"""Weights by staleness, elastic averaging, sums in float64, rows of some workers, rows kept back: on a real server."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import pyccl
from pyccl import initializers, optim
from pyccl.server import Elastic, SignificantRows
from tests import mpi
from tests.test_server_tables import shared_folder

BIG = 70_000  # more than one piece per shard


def one(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@mpi.check(sizes=(3,), cases=["equal", "inverse", "inverse_root"])
def stale_gradients_weigh_less(comm, case):
    """Zhang et al. 2015 (FORMULAS 4.6): three workers read version 0; the last to push is 2 behind."""
    with pyccl.ParameterServer(comm, consistency=pyccl.Async(weighting=case)) as ps:
        ps.table("w", init=np.zeros(BIG, np.float32), optimizer=optim.SGD(1.0))
        ps.pull("w")
        for rank in range(comm.size):
            comm.barrier()
            if comm.rank == rank:
                ps.push("w", np.ones(BIG, np.float32))
        comm.barrier()
        expected = {"equal": 3, "inverse": 1 + 1 + 1 / 2, "inverse_root": 1 + 2**-0.5 + 3**-0.5}[case]
        np.testing.assert_allclose(ps.pull("w"), -expected, rtol=1e-6)


@mpi.check(sizes=(4,), cases=["sync", "async"])
def elastic_averaging_has_its_golden_values(comm, case):
    """FORMULAS 4.8: x = (1, 2, 3, 6), center 0, alpha 0.1; as if all had read the old center."""
    policy = pyccl.Sync() if case == "sync" else pyccl.Async()
    with pyccl.ParameterServer(comm) as ps:
        elastic = Elastic(ps, "center", init=one(0, 0), alpha=0.1, consistency=policy)
        x = np.full(2, (1, 2, 3, 6)[comm.rank], np.float32)
        if case == "sync":
            elastic.exchange(x)
            np.testing.assert_allclose(x, np.full(2, (0.9, 1.8, 2.7, 5.4)[comm.rank]), rtol=1e-6)
            np.testing.assert_allclose(ps.pull("center"), [1.2, 1.2], rtol=1e-6)
        else:  # one after the other
            center, mine = 0.0, 0.0
            for rank, value in enumerate((1, 2, 3, 6)):
                if comm.rank == rank:
                    elastic.exchange(x)
                comm.barrier()
                force = 0.1 * (value - center)
                center += force
                mine = value - force if rank == comm.rank else mine
            np.testing.assert_allclose(ps.pull("center"), [center] * 2, rtol=1e-6)
            np.testing.assert_allclose(x, [mine] * 2, rtol=1e-6)


@mpi.check(sizes=(3,))
def elastic_averaging_keeps_the_sum(comm):
    with pyccl.ParameterServer(comm) as ps:
        start = np.random.default_rng(1).standard_normal(BIG).astype(np.float32)
        elastic = Elastic(ps, "center", init=start, alpha=0.25)
        x = np.random.default_rng(2 + comm.rank).standard_normal(BIG).astype(np.float32)
        before = start + comm.all_reduce(x.astype(np.float64))
        for _ in range(20):
            elastic.exchange(x)
            comm.barrier()
        after = ps.pull("center") + comm.all_reduce(x.astype(np.float64))
        np.testing.assert_allclose(after, before, atol=1e-4)
        assert np.abs(x - ps.pull("center")).max() < 0.1  # all have come together


@mpi.check(sizes=(1,))
def elastic_averaging_refuses(comm):
    with pyccl.ParameterServer(comm) as ps:
        for alpha in (0, 1, "much"):
            with pytest.raises(pyccl.ConfigError, match="alpha"):
                Elastic(ps, "c", init=one(0), alpha=alpha)
        with pytest.raises(pyccl.ConfigError, match="consistency"):
            Elastic(ps, "c", init=one(0), alpha=0.5, consistency=pyccl.SSP(1))
        elastic, fixed = Elastic(ps, "c", init=one(0), alpha=0.5), one(1)
        fixed.flags.writeable = False
        bad = {"shape": one(1, 2), "float32": np.zeros(1), "read-only": fixed, "finite": one(np.nan)}
        for message, x in bad.items():
            with pytest.raises((TypeError, ValueError), match=message):
                elastic.exchange(x)
        assert ps.pull("c") == 0


@mpi.check(sizes=(3,), cases=["sync", "softsync"])
def sums_may_be_float64(comm, case):
    """2^24, 1 and 1: in float32 a 1 beside 2^24 is lost."""
    policy = {"sync": pyccl.Sync(), "softsync": pyccl.SoftSync(1)}[case]
    with pyccl.ParameterServer(comm, consistency=policy) as ps:
        init = np.zeros(BIG, np.float32)
        for name in ("float32", "float64"):
            ps.table(name, init=init, optimizer=optim.SGD(3.0), accumulate=name)
            for rank in range(comm.size):
                comm.barrier()
                if comm.rank == rank and case == "softsync":
                    ps.push(name, np.full(BIG, (2**24, 1, 1)[rank], np.float32))
            if case == "sync":
                ps.push(name, np.full(BIG, (2**24, 1, 1)[comm.rank], np.float32))
            comm.barrier()
        assert (ps.pull("float64") == -(2**24) - 2).all()
        assert (ps.pull("float32") != -(2**24) - 2).all()


@mpi.check(sizes=(2,), cases=["async", "ssp"])
def rows_are_kept_back_until_they_matter(comm, case):
    policy = pyccl.Async() if case == "async" else pyccl.SSP(2)
    with pyccl.ParameterServer(comm, consistency=policy, replicas=1) as ps:
        ps.table("e", sparse=True, dim=2, init=initializers.Zeros(), optimizer=optim.SGD(1.0))
        rows = SignificantRows(ps, "e", threshold=4)
        base = 1000 * comm.rank
        assert rows.push(np.array([[1, 0], [5, 0], [2, 1]], np.float32), ids=[base, base + 1, base]) == 1
        assert rows.held == 1
        assert ps.pull("e", ids=[base, base + 1]).tolist() == [[0, 0], [-5, 0]]
        assert rows.push(one(1, 1)[None], ids=[base]) == 1
        assert rows.held == 0
        assert ps.pull("e", ids=[base]).tolist() == [[-4, -2]]
        given, draw = np.zeros((50, 2), np.float32), np.random.default_rng(comm.rank)
        sent = 0
        for _ in range(30):
            ids, gradient = draw.integers(0, 50, 8), draw.integers(-2, 3, (8, 2)).astype(np.float32)
            np.add.at(given, ids, gradient)
            sent += rows.push(gradient, ids=ids + base + 10)
            ps.clock()
        assert 0 < sent < 240
        assert rows.held > 0
        rows.flush()
        assert rows.held == 0
        np.testing.assert_array_equal(ps.pull("e", ids=np.arange(50) + base + 10), -given)


@mpi.check(sizes=(3,), cases=["sync", "kasync"])
def rows_may_wait_for_some_workers(comm, case):
    """All rows of a version have the same gradients: with shards that chose apart they would not."""
    policy = pyccl.Sync(backup=1) if case == "sync" else pyccl.KAsync(2)
    ids, steps = np.arange(300) * 977, 20
    gradient = np.full((300, 2), -(1.0 + comm.rank), np.float32)
    with pyccl.ParameterServer(comm, consistency=policy, replicas=1) as ps:
        for name in ("e", "f"):
            ps.table(name, sparse=True, dim=2, init=initializers.Zeros(), optimizer=optim.SGD(1.0))
        for _ in range(steps):
            for name in ("e", "f"):
                found = ps.pull(name, ids=ids)
                assert (found == found[0]).all()
                ps.push(name, gradient, ids=ids)
        ps.finish()
        comm.barrier()
        last = [ps.pull(name, ids=ids) for name in ("e", "f")]
        assert all((found == found[0]).all() and found[0, 0] >= steps for found in last)
        path = shared_folder(comm)
        if comm.rank == 0:
            ps.save(path / "rows")
    with pyccl.ParameterServer(comm, servers=[1], consistency=policy) as ps:
        for name in ("e", "f"):
            ps.table(name, sparse=True, dim=2, init=initializers.Zeros(), optimizer=optim.SGD(1.0))
        if comm.rank == 0:
            ps.load(path / "rows")
            np.testing.assert_array_equal([ps.pull(name, ids=ids) for name in ("e", "f")], last)
            shutil.rmtree(path)
        with ps.serve():
            pass


@mpi.check(sizes=(1,))
def keeping_back_refuses(comm):
    with pyccl.ParameterServer(comm) as ps:
        ps.table("w", init=one(1), optimizer=optim.SGD(1.0))
        ps.table("e", sparse=True, dim=2, init=initializers.Zeros(), optimizer=optim.SGD(1.0))
        sync = pyccl.Sync()
        ps.table("s", sparse=True, dim=2, init=initializers.Zeros(), optimizer=optim.SGD(1.0), consistency=sync)
        for name, threshold, message in (("w", 1, "dense"), ("s", 1, "waits"), ("e", -1, "threshold")):
            with pytest.raises(pyccl.ConfigError, match=message):
                SignificantRows(ps, name, threshold=threshold)
        rows = SignificantRows(ps, "e", threshold=1)
        for message, gradient in (("shape", np.zeros((2, 2), np.float32)), ("finite", one(np.inf, 0)[None])):
            with pytest.raises(ValueError, match=message):
                rows.push(gradient, ids=[3])
        with pytest.raises(TypeError, match="float32"):
            rows.push(np.zeros((1, 2)), ids=[3])
        assert rows.held == 0
        with pytest.raises(pyccl.ConfigError, match="accumulate"):
            ps.table("a", init=one(1), optimizer=optim.SGD(1.0), accumulate="float64")
        with pytest.raises(ValueError, match="accumulate"):
            ps.table("a", init=one(1), optimizer=optim.SGD(1.0), accumulate="float16")


test_mpi = mpi.checks(globals())
