"""The same bits whatever the size, split, algorithm or kind of memory, where an algorithm keeps rank order."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pyccl
from pyccl.algorithms import algorithms, get_algorithm
from pyccl.arrays import dtype_of
from tests import ranks


def floats(dtype: str, count: int, rank: int) -> NDArray[Any]:
    """Return values whose sum depends on the order of addition almost everywhere."""
    random = np.random.default_rng([count, rank])
    values = random.standard_normal(count) * 10.0 ** random.integers(-4, 4, count)
    if dtype.startswith("complex"):
        values = values + 1j * random.standard_normal(count)
    return values.astype(dtype_of(dtype))


def keeping_order(collective: str, size: int) -> list[str]:
    return [n for n in algorithms(collective, size) if get_algorithm(collective, n).order == "rank"]


def ways(comm: pyccl.Communicator, x: NDArray[Any], op: str) -> dict[str, bytes]:
    """Return the bits of an all_reduce made in many ways."""
    found = {name: comm.all_reduce(x, op, algorithm=name).tobytes() for name in keeping_order("all_reduce", comm.size)}
    found["auto"] = comm.all_reduce(x, op).tobytes()
    shared, out = comm.empty(x.shape, x.dtype), comm.empty(x.shape, x.dtype)
    for name in keeping_order("all_reduce", comm.size):
        shared[...] = x
        found[f"registered {name}"] = comm.all_reduce(shared, op, out=out, algorithm=name).tobytes()
        found[f"registered, in place {name}"] = comm.all_reduce(shared, op, out=shared, algorithm=name).tobytes()
    for pieces in (2, 7, 61):
        cuts = [len(x) * i // pieces for i in range(pieces + 1)]
        parts = [comm.all_reduce(x[a:b], op) for a, b in itertools.pairwise(cuts)]
        found[f"{pieces} buckets"] = np.concatenate(parts).tobytes()
    for name in keeping_order("reduce_scatter", comm.size):
        mine = comm.reduce_scatter(x, op, algorithm=name)
        found[f"reduce_scatter {name} + all_gather"] = comm.all_gather(mine, out=np.empty_like(x)).tobytes()
    for name in keeping_order("reduce", comm.size):
        y = comm.reduce(x, op, root=1, algorithm=name)
        found[f"reduce {name} + broadcast"] = comm.broadcast(np.empty_like(x) if y is None else y, root=1).tobytes()
    return found


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "complex64"])
@pytest.mark.parametrize(("size", "count"), [(2, 70_001), (3, 1001), (5, 300_007), (8, 40_003)])
def test_all_ways_give_the_same_bits_on_all_ranks(dtype: str, size: int, count: int) -> None:
    xs = [floats(dtype, count, r) for r in range(size)]
    wide = [x.astype(np.float32) if x.dtype.itemsize == 2 else x for x in xs]
    total = wide[0].copy()
    for x in wide[1:]:
        total += x
    want = total.astype(xs[0].dtype).tobytes()
    for found in ranks.run(size, lambda comm: ways(comm, xs[comm.rank], "sum")):
        differing = [name for name, bits in found.items() if bits != want]
        assert not differing, f"other bits than NumPy in rank order: {differing}"


def test_avg_agrees_with_itself_as_well() -> None:
    xs = [floats("float32", 20_011, r) for r in range(3)]
    found = ranks.run(3, lambda comm: ways(comm, xs[comm.rank], "avg"))
    bits = {b for ways_ in found for b in ways_.values()}
    assert len(bits) == 1


@pytest.mark.parametrize("size", [3, 6, 8])
def test_algorithms_of_another_order_repeat_themselves_on_all_ranks(size: int) -> None:
    xs = [floats("float32", 10_007, r) for r in range(size)]

    def body(comm: pyccl.Communicator) -> list[bytes]:
        names = [n for n in algorithms("all_reduce", size) for _ in range(2)]
        return [comm.all_reduce(xs[comm.rank], algorithm=name).tobytes() for name in names]

    results = ranks.run(size, body)
    assert all(r == results[0] for r in results)
    assert all(a == b for a, b in zip(results[0][::2], results[0][1::2], strict=True))
