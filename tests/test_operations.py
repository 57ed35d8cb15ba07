"""Operations on every dtype through the API: what is exact, what wraps, what rounds once, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pyccl
from pyccl.algorithms import algorithms, get_algorithm
from pyccl.arrays import dtype_of
from pyccl.ops import BUILTIN
from tests import ranks

SIZE = 5
INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
REALS = ("float16", "bfloat16", "float32", "float64")
DTYPES = ("bool", *INTEGERS, *REALS, "complex64", "complex128")
COUNT = 77  # not a multiple of any vector


def draw(dtype: str, seed: int, count: int = COUNT) -> NDArray[Any]:
    """Return values that use the whole range of integers, and many magnitudes of floats."""
    random = np.random.default_rng(seed)
    if dtype == "bool":
        return random.integers(0, 2, count).astype(bool)
    if dtype in INTEGERS:
        info = np.iinfo(dtype)
        return random.integers(info.min, info.max, count, dtype=dtype, endpoint=True)
    values = random.standard_normal(count) * 10.0 ** random.integers(-3, 3, count)
    if dtype.startswith("complex"):
        values = values + 1j * random.standard_normal(count)
    return values.astype(dtype_of(dtype))


def fold(op: str, xs: list[NDArray[Any]]) -> NDArray[Any]:
    """Combine in rank order; 16-bit floats in float32, rounded once."""
    functions = {"sum": np.add, "avg": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum}
    functions |= {"band": np.bitwise_and, "bor": np.bitwise_or, "bxor": np.bitwise_xor}
    kind = xs[0].dtype
    narrow = kind.name in ("float16", "bfloat16")
    wide = [x.astype(np.float32) if narrow else x for x in xs]
    total = wide[0].copy()
    with np.errstate(all="ignore"):
        for x in wide[1:]:
            total = functions[op](total, x)
        if op == "avg":
            parts = total.view(total.real.dtype)
            parts /= parts.dtype.type(len(xs))
        return total.astype(kind)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_operation_is_the_fold_in_rank_order_or_refused(dtype: str) -> None:
    """NumPy's own arithmetic in rank order gives the same bits, integers wrap as NumPy's do."""
    xs = [draw(dtype, seed) for seed in range(SIZE)]

    def body(comm: pyccl.Communicator) -> list[str]:
        wrong = []
        for name, op in BUILTIN.items():
            if dtype not in op.dtypes:
                error = ranks.outcome(lambda name=name: comm.all_reduce(xs[comm.rank], name))
                if not isinstance(error, TypeError) or dtype not in str(error):
                    wrong.append(f"{name}: {error!r}")
                continue
            for algorithm in ("one_shot", "two_shot"):
                got, want = comm.all_reduce(xs[comm.rank], name, algorithm=algorithm), fold(name, xs)
                if name == "prod" and dtype.startswith("complex"):
                    same = np.allclose(got, want, rtol=1e-5 if dtype == "complex64" else 1e-13)
                else:
                    same = got.tobytes() == want.tobytes()
                if not same or got.dtype != want.dtype:
                    wrong.append(f"{name}/{algorithm}: got {got[:4]}, expected {want[:4]}")
        return wrong

    assert ranks.run(SIZE, body) == [[]] * SIZE


@pytest.mark.parametrize("dtype", [*REALS, "complex64", "complex128"])
def test_premul_sum_takes_another_factor_on_every_rank(dtype: str) -> None:
    xs = [(np.arange(COUNT) % 16).astype(dtype_of(dtype)) for _ in range(3)]
    want = (np.arange(COUNT) % 16 * (0.5 + 1 + 2)).astype(dtype_of(dtype))  # exact

    def body(comm: pyccl.Communicator) -> bool:
        x, op = xs[comm.rank].copy(), pyccl.premul_sum(0.5 * 2**comm.rank)
        good = [np.array_equal(comm.all_reduce(x, op, algorithm=name), want) for name in algorithms("all_reduce", 3)]
        return all(good) and np.array_equal(x, xs[comm.rank]) and np.array_equal(comm.all_reduce(x, op, out=x), want)

    assert ranks.run(3, body) == [True] * 3


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("op", ["min", "max", "sum", "prod"])
def test_nan_of_any_rank_reaches_all(dtype: str, op: str) -> None:
    def body(comm: pyccl.Communicator) -> list[Any]:
        x = np.ones(40).astype(dtype_of(dtype))
        x[comm.rank :: 9] = np.nan
        found = [np.isnan(comm.all_reduce(x, op, algorithm=name).astype(float)) for name in algorithms("all_reduce", 4)]
        want = np.arange(40) % 9 < 4
        return [name for name, f in zip(algorithms("all_reduce", 4), found, strict=True) if (f != want).any()]

    assert ranks.run(4, body) == [[]] * 4


def test_signed_zeros_infinities_and_subnormals() -> None:
    tiny, inf = np.float32(1e-45), np.float32(np.inf)
    xs = np.array([[-0.0, tiny, inf, inf, -0.0], [-0.0, tiny, 1, -inf, 0.0]], np.float32)

    def body(comm: pyccl.Communicator) -> None:
        x = xs[comm.rank].copy()
        total = comm.all_reduce(x)
        assert np.signbit(total[0])
        assert total[1] == 2 * tiny
        assert total[2] == inf
        assert np.isnan(total[3])
        assert not np.signbit(total[4])

    ranks.run(2, body)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bit_floats_are_rounded_once(dtype: str) -> None:
    """Adding 1 to 2^k one after the other in 16 bits would never get anywhere."""
    kind = dtype_of(dtype)
    top = 2048.0 if dtype == "float16" else 256.0

    def body(comm: pyccl.Communicator) -> list[float]:
        x = np.full(9, top if comm.rank == 0 else 1.0).astype(kind)
        names = [n for n in algorithms("all_reduce", 9) if get_algorithm("all_reduce", n).order == "rank"]
        return [float(comm.all_reduce(x, algorithm=name)[0]) for name in names]

    for sums in ranks.run(9, body):
        assert sums
        assert set(sums) == {top + 8}


def test_user_operations_commutative_or_not() -> None:
    pytest.importorskip("numba")
    compound = pyccl.user_op(lambda a, b: a + b + a * b)
    last = pyccl.user_op(lambda a, b: b, commutative=False, name="last")

    def body(comm: pyccl.Communicator) -> None:
        x = np.full(1000, comm.rank + 1, np.int64)
        want = int(np.prod([r + 2 for r in range(comm.size)])) - 1
        for name in algorithms("all_reduce", comm.size):
            assert (comm.all_reduce(x, compound, algorithm=name) == want).all(), name
            if get_algorithm("all_reduce", name).commutative_only:
                with pytest.raises(ValueError, match="commutative"):
                    comm.all_reduce(x, last, algorithm=name)
            else:
                assert (comm.all_reduce(x, last, algorithm=name) == comm.size).all(), name
        for dtype in ("bfloat16", "complex64", "bool"):
            y = np.array([comm.rank % 2, 1, 0]).astype(dtype_of(dtype))
            assert comm.all_reduce(y, last).tolist() == [(comm.size - 1) % 2, 1, 0], dtype
        assert comm.reduce_scatter(x[: comm.size], last).tolist() == [comm.size]
        got = comm.reduce(x, last, root=1)
        assert got is None or (got == comm.size).all()

    ranks.run(4, body)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("form", ["call", "async", "plan"])
def test_a_user_operation_that_fails_on_one_rank_raises_on_all(form: str) -> None:
    pytest.importorskip("numba")

    def picky(a: int, b: int) -> int:
        if a < 0 or b < 0:
            raise ValueError("negative")
        return a + b

    op = pyccl.user_op(picky)

    def body(comm: pyccl.Communicator) -> None:
        good, bad = np.ones(50_000, np.int64), np.ones(50_000, np.int64)
        bad[49_999] = -1 if comm.rank == 2 else 1  # in the share of one rank only
        calls = {
            "call": lambda x: comm.all_reduce(x, op, algorithm="two_shot"),
            "async": lambda x: comm.all_reduce_async(x, op, algorithm="two_shot").wait(),
            "plan": lambda x: comm.plan("all_reduce", x, op, algorithm="two_shot")(),
        }
        for _ in range(3):
            with pytest.raises(pyccl.Error, match="user-defined"):
                calls[form](bad)
            assert (calls[form](good) == comm.size).all()
        ranks.usable(comm)

    ranks.run(4, body)
