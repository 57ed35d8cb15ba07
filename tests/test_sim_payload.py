"""A simulated collective's output has the bits of the real one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pyccl
from pyccl.algorithms import algorithms
from pyccl.arrays import dtype_of
from pyccl.collectives import split
from pyccl.sim import Cluster, simulate_collective
from tests import oracle, ranks

COLLECTIVES = ("all_reduce", "reduce_scatter", "all_gather", "broadcast", "reduce", "gather", "scatter", "all_to_all")


def switch(hosts: int, devices: int = 1) -> Cluster:
    return Cluster.switch(hosts=hosts, gpus_per_host=devices, nic="1 GB/s", latency="1 us")


def floats(dtype: str, count: int, rank: int) -> Any:
    random = np.random.default_rng([count, rank])
    return (random.standard_normal(count) * 10.0 ** random.integers(-3, 3, count)).astype(dtype_of(dtype))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_all_reduce_has_the_bits_of_the_runtime(size: int, dtype: str) -> None:
    """Every algorithm, those included that add in an order of their own; ranks are devices of one host."""
    names, xs = algorithms("all_reduce", size), [floats(dtype, 10_007, r) for r in range(size)]
    real = ranks.run(size, lambda comm: [comm.all_reduce(xs[comm.rank], algorithm=n).tobytes() for n in names])
    for i, name in enumerate(names):
        result = simulate_collective(switch(1, size), "all_reduce", algorithm=name, payload=xs)
        assert result.outputs is not None
        assert [y.tobytes() for y in result.outputs] == [of_rank[i] for of_rank in real], name
        assert result.nbytes == xs[0].nbytes


@pytest.mark.parametrize("op", ["sum", "avg", "prod", "min", "max"])
def test_reductions_have_the_bits_of_the_runtime(op: str) -> None:
    size, xs = 4, [floats("float32", 1003, r) for r in range(4)]

    def body(comm: pyccl.Communicator) -> list[bytes]:
        scattered = [comm.reduce_scatter(xs[comm.rank], op, algorithm=n) for n in algorithms("reduce_scatter", size)]
        rooted = [comm.reduce(xs[comm.rank], op, root=2, algorithm=n) for n in algorithms("reduce", size)]
        return [b"" if y is None else y.tobytes() for y in scattered + rooted]

    real = ranks.run(size, body)
    mine = [
        simulate_collective(switch(1, size), collective, algorithm=name, payload=xs, op=op, root=2).outputs
        for collective in ("reduce_scatter", "reduce")
        for name in algorithms(collective, size)
    ]
    for i, outputs in enumerate(mine):
        assert outputs is not None
        assert [y.tobytes() for y in outputs] == [of_rank[i] for of_rank in real]


@pytest.mark.parametrize("hosts", [1, 3, 6])
@pytest.mark.parametrize("collective", COLLECTIVES)
def test_every_algorithm_does_what_its_collective_means(collective: str, hosts: int) -> None:
    size, root, count = 6, 2, 54
    counts = (9,) * 36 if collective == "all_to_all" else split(count, size)
    xs = oracle.make_inputs(collective, size, counts, count, root)
    want = oracle.expected(collective, xs, root, counts)
    for name in algorithms(collective, size):
        result = simulate_collective(switch(hosts, size // hosts), collective, algorithm=name, payload=xs, root=root)
        assert result.outputs is not None
        for got, expected in zip(result.outputs, want, strict=True):
            assert np.array_equal(got, expected), name
        assert result.time > 0


def test_uneven_all_gather_and_nothing_at_all() -> None:
    xs = [np.arange(n, dtype=np.int32) for n in (3, 0, 5)]
    result = simulate_collective(switch(3), "all_gather", algorithm="ring", payload=xs)
    assert result.outputs is not None
    assert all(np.array_equal(y, np.concatenate(xs)) for y in result.outputs)
    assert result.nbytes == 32
    empty = simulate_collective(switch(3), "all_reduce", algorithm="ring", payload=[np.empty(0)] * 3)
    assert empty.outputs is not None
    assert all(y.size == 0 for y in empty.outputs)


@pytest.mark.parametrize(
    ("payload", "options", "says"),
    [
        ([np.zeros(3)], {}, "one array per rank"),
        ([np.zeros(3), np.zeros(4)], {}, "equally long"),
        ([np.zeros(3), np.zeros(3, np.float32)], {}, "one dtype"),
        ([np.zeros((3, 1))] * 2, {}, "one dimension"),
        ([np.zeros(3)] * 2, {"op": "mean"}, "op must be one of"),
        ([np.zeros(3, np.int32)] * 2, {"op": "avg"}, "not defined"),
        ([np.zeros(3)] * 2, {"nbytes": 8}, "leave nbytes out"),
        ([np.zeros(3, "M8[s]")] * 2, {}, "no collective moves"),
    ],
)
def test_bad_payloads(payload: list[Any], options: dict[str, Any], says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        simulate_collective(switch(2), "all_reduce", algorithm="ring", payload=payload, **options)
