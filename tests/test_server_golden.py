"""The consistency formulas' golden values (FORMULAS 4.2 to 4.6), on a real server."""

from __future__ import annotations

import numpy as np
import pytest

import pyccl
from pyccl import optim
from tests import mpi

ITERATIONS = 20
SECONDS = (1.0, 1.0, 1.0, 2.0)  # of an iteration, by worker


def finish_times(comm, policy, bound):
    """Run SSP in virtual time: the table itself says when each worker has finished each iteration.

    Who begins iteration c waits for all who had to end c - bound - 1. That the gate let it pass must mean that it reads
    these entries, and all of its own.
    """
    with pyccl.ParameterServer(comm, consistency=policy) as ps:
        ps.table("ends", init=np.zeros((comm.size, ITERATIONS), np.float32), optimizer=optim.SGD(1.0))
        now = 0.0
        for step in range(ITERATIONS):
            seen = ps.pull("ends")
            assert (seen[comm.rank, :step] > 0).all(), "does not read its own writes"
            if step > bound:
                needed = seen[:, step - bound - 1]
                assert (needed > 0).all(), f"begins iteration {step} too early"
                now = max(now, float(needed.max()))
            now += SECONDS[comm.rank]
            entry = np.zeros_like(seen)
            entry[comm.rank, step] = -now
            ps.push("ends", entry)
            ps.clock()
        ps.finish()
        comm.barrier()
        return ps.pull("ends")


@mpi.check(sizes=(4,), cases=["SSP(0)", "SSP(3)", "BoundedDelay(0)", "BoundedDelay(3)"])
def the_gate_has_its_golden_finish_times(comm, case):
    """4.2, 4.3: iteration 20 of a fast worker ends at 39 (s = 0) or 33 (s = 3), of the slow one at 40."""
    bound = int(case[-2])
    ends = finish_times(comm, eval(f"pyccl.{case}"), bound)
    assert (ends[3] == np.arange(2, 42, 2)).all()
    assert (ends[:3, -1] == {0: 39, 3: 33}[bound]).all()
    if bound == 3:
        assert ends[0, :8].tolist() == [1, 2, 3, 4, 5, 6, 7, 9]


@mpi.check(sizes=(1, 3, 4))
def workers_in_turn_are_all_but_one_versions_behind(comm):
    """4.4: n equal workers, one after the other: a staleness of n - 1 once all have begun."""
    rounds = 5
    with pyccl.ParameterServer(comm) as ps:
        ps.table("w", init=np.zeros(8, np.float32), optimizer=optim.SGD(1.0))
        ps.pull("w")
        for _ in range(rounds):
            for rank in range(comm.size):
                comm.barrier()
                if comm.rank == rank:
                    ps.push("w", np.ones(8, np.float32))
                    ps.pull("w")
        counts = ps.staleness_histogram("w")
        first = comm.rank  # in the first round, by how many came before
        expected = np.zeros(comm.size, np.int64)
        expected[first] += 1
        expected[comm.size - 1] += rounds - 1
        np.testing.assert_array_equal(np.resize(np.append(counts, np.zeros(comm.size, int)), comm.size), expected)


@mpi.check(sizes=(3,))
def a_version_is_the_mean_of_the_first_without_backups(comm):
    """4.5: two of three; the late gradient is dropped, and its worker goes on with the new version."""
    with pyccl.ParameterServer(comm, consistency=pyccl.Sync(backup=1)) as ps:
        ps.table("w", init=np.zeros(8, np.float32), optimizer=optim.SGD(1.0))
        for late in (2, 0, 1, 2):
            before = ps.pull("w")
            comm.barrier()
            if comm.rank != late:
                ps.push("w", np.full(8, 2.0 + comm.rank, np.float32))
            comm.barrier()
            if comm.rank == late:
                ps.push("w", np.full(8, 100.0, np.float32))
            expected = sum(2.0 + rank for rank in range(3) if rank != late) / 2
            assert (ps.pull("w") == before - np.float32(expected)).all()
            comm.barrier()
        assert ps._endpoint.seen(0)[2] == (2 if comm.rank == 2 else 1)  # dropped


@mpi.check(sizes=(6,))
def softsync_divides_by_staleness(comm):
    """4.6: versions of two gradients, each divided by max(1, staleness) and by two."""
    with pyccl.ParameterServer(comm, consistency=pyccl.SoftSync(3)) as ps:
        ps.table("w", init=np.zeros(8, np.float32), optimizer=optim.SGD(1.0))
        ps.pull("w")
        expected = 0.0
        for rank in range(6):
            comm.barrier()
            if comm.rank == rank:
                ps.push("w", np.full(8, 4.0, np.float32))
            expected += 4.0 / max(1, rank // 2) / 2
        comm.barrier()
        assert (ps.pull("w") == -expected).all()


@mpi.check(sizes=(2, 3, 4), cases=["Sync()", "Sync() of pieces in float64"])
def sync_is_all_reduce_and_a_step(comm, case):
    """Their mean in rank order, then the optimiser: the bits of a deterministic all_reduce, and a local step."""
    count, how = 100_003, optim.Momentum(0.05, momentum=0.9)
    wide = "float64" in case
    draw = np.random.default_rng(5)
    parameters = draw.standard_normal(count).astype(np.float32)
    state = [np.zeros(count, np.float32)]
    with pyccl.ParameterServer(comm, consistency=pyccl.Sync()) as ps:
        ps.table("w", init=parameters, optimizer=how, accumulate="float64" if wide else "float32")
        for step in range(1, 5):
            mine = np.random.default_rng([step, comm.rank]).standard_normal(count).astype(np.float32)
            everyone = comm.all_gather(mine).reshape(comm.size, count)
            if wide:
                mean = (everyone.astype(np.float64).sum(0) / comm.size).astype(np.float32)
            else:
                mean = everyone[0].copy()
                for other in everyone[1:]:
                    mean += other
                mean /= np.float32(comm.size)
            np.testing.assert_allclose(comm.all_reduce(mine, "avg"), mean, rtol=1e-5, atol=1e-6)
            how.step(parameters, state, mean, step)
            np.testing.assert_array_equal(ps.push_pull("w", mine), parameters)


test_mpi = mpi.checks(globals())


def test_a_doubled_staleness_halves_the_step() -> None:
    """4.6, of the rule that the server asks."""
    rule = pyccl.Async(weighting="inverse").rule(9)
    for worker in range(9):
        assert rule.request(worker)
        rule.begin(worker)
    weights = [rule.push(worker).weight for worker in range(9)]
    for staleness in (1, 2, 4):
        assert weights[2 * staleness] == pytest.approx(weights[staleness] / 2)
