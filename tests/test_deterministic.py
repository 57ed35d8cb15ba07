"""`deterministic=True` gives the bits of one pass in rank order everywhere, and `check_same` finds who differs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pyccl
from pyccl.algorithms import get_algorithm
from pyccl.choice import in_rank_order
from tests import mpi, ranks
from tests.test_bits import floats

SIZE = 5


def in_order(xs: list[Any]) -> Any:
    total = xs[0].copy()
    for x in xs[1:]:
        total += x
    return total


@pytest.mark.parametrize("count", [7, 50_003])
def test_a_call_takes_an_algorithm_in_rank_order(count: int) -> None:
    xs = [floats("float32", count, r) for r in range(SIZE)]
    want = in_order(xs).tobytes()

    def body(comm: pyccl.Communicator) -> None:
        x = xs[comm.rank]
        assert comm.all_reduce(x, deterministic=True).tobytes() == want
        assert comm.all_reduce_async(x, deterministic=True).wait().tobytes() == want
        assert comm.plan("all_reduce", x, deterministic=True)().tobytes() == want
        part = comm.reduce_scatter(x, deterministic=True)
        assert comm.all_gather(part, out=np.empty_like(x)).tobytes() == want
        whole = comm.reduce(x, root=2, deterministic=True)
        assert comm.rank != 2 or whole.tobytes() == want
        assert isinstance(ranks.outcome(lambda: comm.all_reduce(x, algorithm="ring", deterministic=True)), ValueError)
        assert isinstance(ranks.outcome(lambda: comm.all_reduce(x, deterministic=1)), TypeError)

    ranks.run(SIZE, body)


def test_the_thresholds_of_a_deterministic_communicator_keep_rank_order() -> None:
    for name in ("all_reduce", "reduce_scatter", "reduce"):
        other = {"all_reduce": "ring", "reduce_scatter": "ring", "reduce": "binomial"}[name]
        for rows in (((100, other), (2**62, other)), ((2**20, other), (2**62, other)), ((2**62, other),)):
            kept = in_rank_order(name, rows)
            assert all(get_algorithm(name, algorithm).order == "rank" for _, algorithm in kept)
            assert [limit for limit, _ in kept] == sorted({limit for limit, _ in kept})
            assert kept[-1][0] == 2**62
    assert in_rank_order("broadcast", ((2**62, "binomial"),)) == ((2**62, "binomial"),)


def test_a_user_who_names_another_order_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYCCL_ALGORITHM", "all_reduce=ring")
    with pytest.raises(pyccl.ConfigError, match="does not add in rank order"):
        pyccl.Communicator.from_bootstrap(pyccl.bootstrap.SingleBootstrap(), deterministic=True)


CODE = """
import numpy as np, pyccl, sys
from tests.test_bits import floats
with pyccl.init(deterministic=True) as comm:
    for count in (11, 40_001):
        xs = [floats("float32", count, r) for r in range(comm.size)]
        want = xs[0].copy()
        for x in xs[1:]:
            want += x
        x = xs[comm.rank]
        assert comm.all_reduce(x).tobytes() == want.tobytes(), count
        assert comm.all_gather(comm.reduce_scatter(x), out=np.empty_like(x)).tobytes() == want.tobytes()
        whole = comm.reduce(x, root=1)
        assert comm.rank != 1 or whole.tobytes() == want.tobytes()
        comm.check_same(want)
"""


@pytest.mark.mpi
@pytest.mark.parametrize("node_size", [1, 2])
def test_over_several_nodes_the_bits_are_those_of_one(node_size: int) -> None:
    mpi.mpirun(CODE, 4, env={"PYCCL_NODE_SIZE": str(node_size)})


@pytest.mark.parametrize(("name", "call"), [("check_same", "comm.check_same(np.ones(3))"), ("split", "comm.split(0)")])
def test_methods_that_gather_are_called_by_their_own_names(name: str, call: str) -> None:
    """Also where another rank gathers as many bytes itself."""

    def body(comm: pyccl.Communicator) -> tuple[set[str], str]:
        eval(call, {"comm": comm, "np": np})
        error = None
        if name == "check_same":
            error = ranks.outcome(
                lambda: comm.check_same(np.ones(3)) if comm.rank else comm.all_gather(np.ones(280, np.uint8))
            )
        return {record.kind for record in comm.flight_record()}, str(error)

    for kinds, error in ranks.run(3, body):
        assert name in kinds
        assert name == "split" or "calls check_same #2" in error
        assert name == "check_same" or "all_gather" not in kinds


def test_check_same_cannot_be_recorded() -> None:
    def body(comm: pyccl.Communicator) -> None:
        with pytest.raises(ValueError, match="check_same cannot be part of a group"), comm.group():
            comm.check_same(np.ones(3))

    ranks.run(2, body)


def test_check_same_names_who_differs_and_where() -> None:
    def body(comm: pyccl.Communicator) -> list[BaseException | None]:
        x = np.arange(1000.0)
        comm.check_same(x)
        comm.check_same(np.empty(0))
        y = x.copy()
        if comm.rank in (1, 3):
            y[701] = np.nextafter(y[701], 0)
        errors = [ranks.outcome(lambda: comm.check_same(y))]
        errors.append(ranks.outcome(lambda: comm.check_same(x if comm.rank else x.astype("f4"))))
        errors.append(ranks.outcome(lambda: comm.check_same(x if comm.rank != 4 else x.reshape(10, 100))))
        errors.append(ranks.outcome(lambda: comm.check_same(x if comm.rank != 2 else [1.0])))
        ranks.usable(comm)
        return errors

    for rank, (values, dtype, shape, refused) in enumerate(ranks.run(SIZE, body)):
        assert isinstance(values, pyccl.MismatchError)
        assert "ranks 1, 3 differ from the other 3, first in elements 690 to 751 of 1000" in str(values), values
        assert "rank 0 differs from the other 4, in dtype or shape" in str(dtype)
        assert "rank 4 differs from the other 4, in dtype or shape" in str(shape)
        assert isinstance(refused, TypeError if rank == 2 else pyccl.PeerAborted)


def test_two_ranks_that_differ_are_both_named() -> None:
    def body(comm: pyccl.Communicator) -> BaseException | None:
        return ranks.outcome(lambda: comm.check_same(np.full(3, comm.rank)))

    assert "2 arrays, held by rank 0; rank 1, first in elements 0 to 0 of 3" in str(ranks.run(2, body)[1])
