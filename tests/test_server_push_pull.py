"""push_pull: the same as push_async and pull, in one go."""

from __future__ import annotations

import numpy as np
import pytest

import pyccl
from pyccl import initializers, optim
from pyccl.server import Compensation
from tests import mpi

BIG = 150_001  # several pieces per shard, the last one shorter
PAST_CACHES = 5_000_003  # times 2 ranks: read with stores past the caches
POLICIES = {"async": pyccl.Async(), "sync": pyccl.Sync(), "ssp": pyccl.SSP(1), "bounded": pyccl.BoundedDelay(1)}
POLICIES |= {"kasync": pyccl.KAsync(1), "backup": pyccl.Sync(backup=0)}


def numbers(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


@mpi.check(sizes=(1, 2, 4), cases=list(POLICIES))
def it_gives_what_push_and_pull_give(comm, case):
    """Two tables, one for each way. Whoever is alone, or waits for all, gets the same bits; else only sums agree."""
    exact = case in ("sync", "backup") or comm.size == 1
    with pyccl.ParameterServer(comm, consistency=POLICIES[case]) as ps:
        for name in ("once", "twice"):
            ps.table(name, init=numbers(BIG, 1), optimizer=optim.Momentum(0.1) if exact else optim.SGD(0.1))
        comm.barrier()
        for step in range(4):
            gradient = numbers(BIG, 10 * step + comm.rank)
            out = np.empty(BIG, np.float32)
            assert ps.push_pull("once", gradient, out=out) is out
            ps.push_async("twice", gradient)
            expected = ps.pull("twice")
            if exact:
                np.testing.assert_array_equal(out, expected)
            ps.clock()
        ps.finish()
        comm.barrier()
        np.testing.assert_allclose(ps.pull("once"), ps.pull("twice"), rtol=1e-4, atol=1e-4)


@mpi.check(sizes=(2, 3))
def out_may_be_the_gradient(comm):
    with pyccl.ParameterServer(comm, consistency=pyccl.Sync()) as ps:
        ps.table("w", init=np.zeros((BIG, 1), np.float32), optimizer=optim.SGD(1.0))
        both = np.full((BIG, 1), comm.rank, np.float32)
        ps.push_pull("w", both, out=both)
        assert (both == -(comm.size - 1) / 2).all()


@mpi.check(sizes=(2,))
def arrays_beyond_the_caches(comm):
    with pyccl.ParameterServer(comm, consistency=pyccl.Sync()) as ps:
        ps.table("w", init=numbers(PAST_CACHES, 1), optimizer=optim.SGD(1.0))
        room = np.empty(PAST_CACHES + 3, np.float32)
        for step in range(3):
            ps.push_pull("w", numbers(PAST_CACHES, 2), out=room[3:])
            expected = numbers(PAST_CACHES, 1)
            for _ in range(step + 1):
                expected -= numbers(PAST_CACHES, 2)
            np.testing.assert_array_equal(room[3:], expected)


@mpi.check(sizes=(2,))
def gradients_that_are_not_finite(comm):
    with pyccl.ParameterServer(comm, consistency=pyccl.Async()) as ps:
        for nan in ("raise", "skip", "pass"):
            ps.table(nan, init=np.ones(BIG, np.float32), optimizer=optim.SGD(1.0), nan=nan)
        bad = np.zeros(BIG, np.float32)
        bad[-1] = np.inf
        with pytest.raises(ValueError, match="'raise'"):
            ps.push_pull("raise", bad)
        assert (ps.pull("raise") == 1).all()
        assert (ps.push_pull("skip", bad) == 1).all()
        assert not np.isfinite(ps.push_pull("pass", bad)[-1])


@mpi.check(sizes=(1,))
def what_it_refuses(comm):
    with pyccl.ParameterServer(comm) as ps:
        ps.table("w", init=np.ones(5, np.float32), optimizer=optim.SGD(1.0), compensation=Compensation(lam=0.5))
        ps.table("e", sparse=True, dim=2, init=initializers.Zeros(), optimizer=optim.SGD(1.0))
        good = np.zeros(5, np.float32)
        with pytest.raises(TypeError, match="sparse"):
            ps.push_pull("e", good)
        with pytest.raises(ValueError, match="there is no table"):
            ps.push_pull("nothing", good)
        with pytest.raises(ValueError, match="shape"):
            ps.push_pull("w", good[:4])
        with pytest.raises(TypeError, match="float32"):
            ps.push_pull("w", good.astype(np.float64))
        with pytest.raises(ValueError, match="out"):
            ps.push_pull("w", good, out=np.empty(4, np.float32))
        assert (ps.pull("w") == 1).all()


test_mpi = mpi.checks(globals())
