"""Small operations between nodes, which the agreement on them carries along: results, bits, and nothing else moves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pyccl
from pyccl import _core
from pyccl.algorithms import algorithms, get_algorithm
from pyccl.choice import carried
from pyccl.collectives import COLLECTIVES
from pyccl.sim import Cluster, simulate_collective
from tests import mpi
from tests.test_bits import floats

pytestmark = pytest.mark.mpi


def calls(comm: pyccl.Communicator, xs: list[Any]) -> dict[str, Any]:
    """Return a call of every collective, by name."""
    x, blocks = xs[comm.rank], np.tile(xs[comm.rank][: 2 * comm.size], (comm.size, 1))
    return {
        "all_reduce": lambda: comm.all_reduce(x),
        "broadcast": lambda: comm.broadcast(x.copy(), root=comm.size - 1),
        "reduce": lambda: comm.reduce(x, root=1),
        "all_gather": lambda: comm.all_gather(x),
        "gather": lambda: comm.gather(x),
        "reduce_scatter": lambda: comm.reduce_scatter(x),
        "scatter": lambda: comm.scatter(x if comm.rank == 0 else None, out=np.empty(len(x) // comm.size, x.dtype)),
        "all_to_all": lambda: comm.all_to_all(blocks.ravel()),
        "barrier": comm.barrier,
    }


@mpi.check(sizes=(2, 3, 4, 5))
def what_fits_is_carried_and_what_does_not_is_not(comm: pyccl.Communicator) -> None:
    """As the thresholds say, which are nothing but a forecast of it."""
    many = 2 * _core.carried_bytes()
    small, large = np.arange(2 * comm.size, dtype="f4"), np.arange(many - many % comm.size, dtype="f4")
    for name, call in calls(comm, [small] * comm.size).items():
        before = comm._core.carried_runs
        call()
        assert comm._core.carried_runs == before + 1, name
    for name in ("all_reduce", "broadcast", "reduce", "all_gather", "gather", "reduce_scatter", "scatter"):
        before = comm._core.carried_runs
        calls(comm, [large] * comm.size)[name]()
        assert comm._core.carried_runs == before, name


@mpi.check(sizes=(2, 3, 4, 5))
def at_the_threshold_nothing_is_lost(comm: pyccl.Communicator) -> None:
    limit = carried("all_reduce", comm.size, ())[0][0]
    for count in {0, 1, limit // 8 - 1, limit // 8, limit // 8 + 1}:
        before = comm._core.carried_runs
        got = comm.all_reduce(np.arange(count) + comm.rank)
        assert np.array_equal(got, np.arange(count) * comm.size + sum(range(comm.size))), count
        assert comm._core.carried_runs == before + (8 * count <= limit), count


@mpi.check(sizes=(2, 3, 4, 5))
def bits_are_those_of_the_simulator(comm: pyccl.Communicator) -> None:
    hosts = Cluster.switch(hosts=comm.size, gpus_per_host=1, nic="1 GB/s", latency="1 us")
    for dtype in ("float32", "float16", "bfloat16"):
        for op in ("sum", "avg", "prod", "max"):
            xs = [floats(dtype, 33, r) for r in range(comm.size)]
            before = comm._core.carried_runs
            got = comm.all_reduce(xs[comm.rank], op)
            assert comm._core.carried_runs == before + 1
            same = simulate_collective(hosts, "all_reduce", algorithm="one_shot", payload=xs, op=op).outputs
            assert same is not None
            assert got.tobytes() == same[comm.rank].tobytes(), (dtype, op)


@mpi.check(sizes=(3, 4, 5))
def nothing_moves_when_one_rank_disagrees(comm: pyccl.Communicator) -> None:
    """Whoever it is, and though the others' blocks may have arrived; everybody names it."""
    for odd in range(comm.size):
        x = np.full(4, comm.rank + 1.0)
        with pytest.raises(pyccl.MismatchError) as caught:
            comm.all_reduce(x, "max" if comm.rank == odd else "sum", out=x)
        assert np.array_equal(x, np.full(4, comm.rank + 1.0))
        assert f"rank {odd} calls all_reduce(dtype=float64, count=4, op=max" in str(caught.value)
        assert comm.all_reduce(np.ones(2))[0] == comm.size


@mpi.check(sizes=(3, 4, 5))
def a_count_that_is_too_long_for_one_only_is_a_mismatch(comm: pyccl.Communicator) -> None:
    """Words of unequal length meet; the memory of the short one is safe."""
    for count in (5, 100_000):
        x = np.ones(count if comm.rank == 1 else 4)
        with pytest.raises(pyccl.MismatchError):
            comm.all_reduce(x)
    assert comm.all_reduce(np.ones(2))[0] == comm.size


@mpi.check(sizes=(2, 3, 4, 5))
def many_in_a_row_keep_apart(comm: pyccl.Communicator) -> None:
    for i in range(200):
        got = comm.all_reduce(np.array([i, comm.rank], np.int64))
        assert got.tolist() == [i * comm.size, sum(range(comm.size))]
        if i % 7 == 0:
            assert comm.all_gather(np.array([i + comm.rank])).tolist() == [i + r for r in range(comm.size)]
        if i % 50 == 0:  # one that is not carried in between
            assert comm.all_reduce(np.ones(40_000))[-1] == comm.size


test_a_node_each = mpi.checks(globals(), {"PYCCL_NODE_SIZE": "1"}, sizes=(2, 3, 4, 5))
test_nodes_of_2 = mpi.checks(globals(), {"PYCCL_NODE_SIZE": "2"}, sizes=(3, 4, 5))


@pytest.mark.parametrize("size", [2, 8, 100, 5000])
@pytest.mark.parametrize("name", COLLECTIVES)
def test_thresholds_name_algorithms_of_one_round_in_rank_order(name: str, size: int) -> None:
    (limit, algorithm), rest = carried(name, size, ((2**62, "x"),))
    assert rest == (2**62, "x")
    assert 0 <= limit <= _core.carried_bytes()
    assert algorithm in algorithms(name, size)
    assert name not in ("all_reduce", "reduce", "reduce_scatter") or get_algorithm(name, algorithm).order == "rank"
