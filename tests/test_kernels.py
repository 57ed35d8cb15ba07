"""What the CPU kernels compute, against NumPy, on every instruction set that this machine has."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache

import ml_dtypes
import numpy as np
import pytest

from pyccl import _core
from pyccl.ops import AVG, BUILTIN, MAX, MIN, PROD, SUM, check_op, user_op

CODES = _core.kernels_codes()["dtypes"]
DTYPES = {name: np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name) for name in CODES}
FLOATING = [name for name, dtype in DTYPES.items() if dtype.kind in "fcV" or name == "bfloat16"]
ISAS = _core.kernels_isas()
MAX_SOURCES = 9
LENGTH = 9000
TAILS = range(131)


def defined(op, name):
    try:
        check_op(op, name)
    except TypeError:
        return False
    return True


CASES = [(op, name) for op in BUILTIN.values() for name in DTYPES if defined(op, name)]


@cache
def contributions(name):
    """Rows of awkward values: integers that wrap, halves that round, infinities, NaN, subnormals."""
    rng = np.random.default_rng(7)
    dtype, shape = DTYPES[name], (MAX_SOURCES, LENGTH)
    if name == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    values = rng.normal(size=shape) * 10.0 ** rng.integers(-2, 3, shape)
    if dtype.kind == "c":
        return (values + 1j * rng.normal(size=shape)).astype(dtype)
    special = [np.inf, -np.inf, np.nan, 0.0, 1e-7, 3e-41, 65519.0, 65520.0, 3.39e38, 2.0**-25]
    where = rng.random(shape) < 0.05
    values[where] = rng.choice(special, int(where.sum()))
    with np.errstate(over="ignore"):
        return values.astype(dtype)


def complex_product(a, b):
    """The textbook formula: NumPy's own may fuse, depending on the CPU."""
    out = np.empty_like(a)
    out.real = a.real * b.real - a.imag * b.imag
    out.imag = a.real * b.imag + a.imag * b.real
    return out


def function_of(op, name):
    if op is PROD and name.startswith("complex"):
        return complex_product
    if name == "bool":
        kinds = {"prod": np.logical_and, "min": np.logical_and, "max": np.logical_or}
        return {**kinds, "band": np.logical_and, "bor": np.logical_or, "bxor": np.logical_xor}[op.name]
    names = {"sum": "add", "avg": "add", "prod": "multiply", "min": "minimum", "max": "maximum"}
    names |= {"band": "bitwise_and", "bor": "bitwise_or", "bxor": "bitwise_xor"}
    return getattr(np, names[op.name])


def expected(op, name, sources, divisor=1):
    """16-bit types are accumulated in float32, in order, and rounded once."""
    dtype = DTYPES[name]
    if len(sources) == 1 and divisor == 1:
        return sources[0]
    wide = np.float32 if name in ("float16", "bfloat16") else dtype
    with np.errstate(all="ignore"):
        total = sources[0].astype(wide)
        for source in sources[1:]:
            total = function_of(op, name)(total, source.astype(wide))
        if divisor != 1:
            parts = total.view(total.real.dtype) / total.real.dtype.type(divisor)
            total = parts.view(wide)
        return total.astype(dtype)


def assert_same(got, want, message):
    """Equal bits; one NaN is as good as another."""
    size = {"complex64": 4, "complex128": 8}.get(got.dtype.name, got.dtype.itemsize)
    bits = got.view(f"u{size}") == want.view(f"u{size}")
    if not bits.all():
        with np.errstate(invalid="ignore"):
            nans = [np.isnan(array.view(array.real.dtype).astype(np.float64)) for array in (got, want)]
        assert (bits | (nans[0] & nans[1])).all(), message


def run(op, name, sources, dests, isa, **options):
    return _core.kernels_reduce(list(sources), list(dests), op.code, CODES[name], isa=isa, **options)


def unaligned(array, offset):
    """A copy of `array` that begins `offset` bytes after a page's border."""
    memory = np.empty(array.nbytes + 2 * 4096, np.uint8)
    start = -memory.ctypes.data % 4096 + offset
    view = memory[start : start + array.nbytes].view(array.dtype)
    view[:] = array
    return view


@pytest.mark.parametrize(("op", "name"), CASES, ids=lambda value: getattr(value, "name", value))
def test_every_tail_and_number_of_sources(op, name):
    data, guard = contributions(name), DTYPES[name].type(1)
    for nsources in range(1, MAX_SOURCES + 1):
        sources = data[:nsources, : TAILS[-1]]
        want = expected(op, name, sources)
        for count in TAILS:
            dests = [np.full(count + 1, guard) for _ in range(1 + (count + nsources) % 3)]
            for isa in ISAS:
                run(op, name, [source[:count] for source in sources], [dest[:count] for dest in dests], isa)
                for dest in dests:
                    assert_same(dest[:count], want[:count], (isa, nsources, count))
                    assert dest[count] == guard, (isa, nsources, count)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("op", "name"), CASES, ids=lambda value: getattr(value, "name", value))
def test_block_borders_offsets_and_streams(op, name, isa):
    data, size = contributions(name), DTYPES[name].itemsize
    block = 2048 // (4 if size == 2 and name in FLOATING else size)
    for case, count in enumerate((block - 1, block, block + 1, 2 * block + 3)):
        for nsources, ndests, stream in ((1, 2, True), (2, 1, True), (2, 2, False), (5, 1, False), (9, 3, True)):
            offset = (0, size, 1, 64 - size)[(case + nsources) % 4]
            sources = [unaligned(row[:count], (offset * k) % 64) for k, row in enumerate(data[:nsources])]
            memories = [unaligned(np.ones(count + 2, DTYPES[name]), offset + d) for d in range(ndests)]
            dests = [memory[1:-1] for memory in memories]
            run(op, name, sources, dests, isa, stream=stream)
            want = expected(op, name, data[:nsources, :count])
            for memory, dest in zip(memories, dests, strict=True):
                assert_same(np.ascontiguousarray(dest), want, (nsources, ndests, stream, count, offset))
                assert memory[0] == 1, "wrote before the dest"
                assert memory[-1] == 1, "wrote past the dest"


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["uint8", "float16", "bfloat16", "float32", "complex128"])
def test_dests_may_be_sources(name, stream, isa):
    for nsources, ndests in ((1, 2), (2, 1), (2, 2), (3, 3), (8, 8), (9, 2)):
        arrays = [row.copy() for row in contributions(name)[:nsources]]
        want = expected(SUM, name, [array.copy() for array in arrays])
        dests = arrays[:ndests] if nsources >= ndests else [*arrays, np.empty_like(arrays[0])]
        run(SUM, name, arrays, dests, isa, stream=stream)
        for dest in dests:
            assert_same(dest, want, (nsources, ndests))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", FLOATING)
def test_divisor_comes_before_rounding(name, isa):
    for divisor in (2, 3, 8, 9):
        for count in (0, 1, 17, 1024, 2500):
            for nsources in (1, 2, 3, 9):
                sources = contributions(name)[:nsources, :count]
                for ndests, stream in ((1, False), (2, False), (3, True)):
                    dests = [np.empty(count, DTYPES[name]) for _ in range(ndests)]
                    run(AVG, name, sources, dests, isa, divisor=divisor, stream=stream)
                    want = expected(AVG, name, sources, divisor)
                    for dest in dests:
                        assert_same(dest, want, (divisor, count, nsources))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_every_16_bit_pattern_survives_widening(name, isa):
    every = np.arange(65536, dtype=np.uint16).view(DTYPES[name])
    out = np.empty_like(every)
    _core.kernels_scale(out, every, CODES[name], 1.0, isa=isa)
    assert_same(out, every, isa)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_rounding_to_16_bits(name, isa):
    """Sums around every halfway point between neighbours, subnormal and overflowing ones too."""
    every = np.arange(65536, dtype=np.uint16).view(DTYPES[name])
    for fraction in (0.5, 0.4999, 0.5001, -0.5):
        with np.errstate(all="ignore"):
            ulp = np.spacing(every.astype(np.float32)) * 2.0 ** (13 if name == "float16" else 16)
            step = (ulp * fraction).astype(DTYPES[name])
        out = np.empty_like(every)
        run(SUM, name, [every, step], [out], isa)
        assert_same(out, expected(SUM, name, [every, step]), fraction)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("op", [MIN, MAX])
@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_nan_propagates(name, op, isa):
    for sources in ([np.nan, 1.0], [1.0, np.nan], [1.0, 2.0, np.nan, 3.0, 4.0, 5.0]):
        out = np.zeros(5, DTYPES[name])
        run(op, name, [np.full(5, value, DTYPES[name]) for value in sources], [out], isa)
        assert np.isnan(out.astype(np.float64)).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", FLOATING)
def test_scale(name, isa):
    for count in (0, 1, 63, 130):
        source = contributions(name)[0, :count]
        wide = source.astype(np.float32) if source.dtype.itemsize == 2 else source
        with np.errstate(all="ignore"):
            parts = wide.view(wide.real.dtype) * wide.real.dtype.type(0.3)
            want = parts.view(wide.dtype).astype(source.dtype)
        for out in (np.empty_like(source), source.copy()):
            _core.kernels_scale(out, out if np.shares_memory(out, source) else source, CODES[name], 0.3, isa=isa)
            assert_same(out, want, count)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("stream", [False, True])
def test_copy(stream, isa):
    data = np.random.default_rng(0).integers(0, 256, 6000, dtype=np.uint8)
    for count in (0, 1, 31, 64, 65, 127, 128, 4096, 5000):
        for offset in (0, 1, 63):
            memory = unaligned(np.zeros(6000, np.uint8), offset)
            _core.kernels_copy(memory[1 : 1 + count], data[:count], stream=stream, isa=isa)
            assert np.array_equal(memory[1 : 1 + count], data[:count])
            assert memory[0] == 0
            assert not memory[1 + count :].any()
    _core.kernels_copy(data, data, stream=stream, isa=isa)


@pytest.mark.parametrize("name", ["int32", "float16", "bfloat16", "float32", "complex64", "bool"])
def test_user_op_folds_in_source_order(name):
    pytest.importorskip("numba")
    op = user_op((lambda a, b: a and not b) if name == "bool" else (lambda a, b: a - b - b), commutative=False)
    wide = np.float32 if DTYPES[name].itemsize == 2 else DTYPES[name]
    for nsources, count, stream in ((1, 70, False), (2, 1, False), (3, 1025, True), (9, 5000, False)):
        sources = contributions(name)[:nsources, :count]
        with np.errstate(all="ignore"):
            want = sources[0].astype(wide)
            for source in sources[1:]:
                term = source.astype(wide)
                want = want & ~term if name == "bool" else want - term - term
            want = sources[0] if nsources == 1 else want.astype(DTYPES[name])
        for isa in ISAS:
            dests = [unaligned(np.zeros(count, DTYPES[name]), 8) for _ in range(2)]
            assert run(op, name, sources, dests, isa, user=op.address(name), stream=stream) == 0
            for dest in dests:
                assert_same(dest, want, (isa, nsources, count))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_user_op_that_raises_is_reported():
    pytest.importorskip("numba")

    def picky(a, b):
        if b < 0:
            raise ValueError("negative")
        return a + b

    op, ones = user_op(picky), np.ones(3000, np.float32)
    assert run(op, "float32", [ones, ones], [np.empty_like(ones)], ISAS[0], user=op.address("float32")) == 0
    bad = ones.copy()
    bad[2500] = -1
    assert run(op, "float32", [ones, bad], [np.empty_like(ones)], ISAS[0], user=op.address("float32")) != 0


def test_bad_requests_are_refused():
    ones = np.ones(3, np.int32)
    for op, options in ((AVG, {}), (SUM, {"divisor": 2}), (SUM, {"divisor": 0})):
        with pytest.raises(ValueError, match="reduce:"):
            run(op, "int32", [ones], [ones.copy()], ISAS[0], **options)
    with pytest.raises(ValueError, match="dtype"):
        _core.kernels_scale(ones, ones, CODES["int32"], 2.0)
    with pytest.raises(ValueError, match="PYCCL_ISA must be one of"):
        run(SUM, "int32", [ones], [ones.copy()], "mmx")


@pytest.mark.parametrize("isa", [*ISAS, "mmx"])
def test_environment_lowers_the_instruction_set(isa):
    code = "from pyccl import _core; print(_core.kernels_isa())"
    environment = {**os.environ, "PYCCL_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    if isa == "mmx":
        assert "PYCCL_ISA must be one of" in done.stderr
    else:
        assert done.stdout.strip() == isa, done.stderr
