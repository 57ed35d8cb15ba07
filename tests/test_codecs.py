"""float32 on a narrower wire: the bits of other libraries, the bounds that codecs.h states, the same on every CPU."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from pyccl import _core
from tests.floats import ISAS, guarded, same_bits, untouched

CODECS = ("float32", "float16", "bfloat16", "int8")
NARROW = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
BLOCK = 64
MOST = float(np.finfo(np.float32).max)
FLOATS = st.floats(width=32) | st.sampled_from([0.0, -0.0, 1e-45, 2.0**-126, 65519.0, 65520.0, MOST, -MOST])
FINITE = FLOATS.filter(np.isfinite)
every_codec = pytest.mark.parametrize("codec", CODECS)
every_isa = pytest.mark.parametrize("isa", ISAS)


def encode(codec: str, values: NDArray[np.float32], isa: str = "") -> NDArray[np.uint8]:
    code = np.empty(_core.kernels_encoded_bytes(codec, values.size), np.uint8)
    _core.kernels_encode(codec, code, values, isa)
    return code


def decode(codec: str, code: NDArray[np.uint8], count: int, isa: str = "") -> NDArray[np.float32]:
    values = np.empty(count, np.float32)
    _core.kernels_decode(codec, values, code, isa)
    return values


def bound(codec: str, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return how far from each value its reconstruction may be, as codecs.h says."""
    magnitude = np.abs(x.astype(np.float64))
    if codec == "float16":
        return np.where(magnitude < 2.0**-14, 2.0**-25, magnitude * 2.0**-11)
    if codec == "bfloat16":
        return np.where(magnitude < 2.0**-126, 2.0**-134, magnitude * 2.0**-8)
    if codec == "int8":
        starts = np.arange(0, x.size, BLOCK)
        largest = np.maximum.reduceat(magnitude, starts) if x.size else magnitude
        return np.maximum(np.repeat(largest, BLOCK)[: x.size] / 253, 2.0**-127)
    return np.zeros(x.size)


@every_codec
@given(x=hnp.arrays(np.float32, st.integers(0, 200), elements=FINITE))
def test_a_value_comes_back_within_the_bound(codec: str, x: NDArray[np.float32]) -> None:
    most = {"float16": 65519.0, "bfloat16": float(ml_dtypes.finfo(ml_dtypes.bfloat16).max)}.get(codec, MOST)
    x = np.clip(x, -most, most)
    got = decode(codec, encode(codec, x), x.size).astype(np.float64)
    assert (np.abs(got - x) <= bound(codec, x)).all()


@every_codec
@given(data=st.data(), offset=st.integers(0, 67))
def test_the_same_bits_on_every_cpu_at_every_place(codec: str, data: st.DataObject, offset: int) -> None:
    x = data.draw(hnp.arrays(np.float32, st.integers(0, 200), elements=FLOATS))
    found = []
    for isa in ISAS:
        source, dest = guarded(x, offset), guarded(np.zeros_like(x), 67 - offset)
        size = _core.kernels_encoded_bytes(codec, x.size)
        memory = np.full(size + offset + 1, 77, np.uint8)
        code = memory[offset : offset + size]
        _core.kernels_encode(codec, code, source[1:-1], isa)
        assert (memory[:offset] == 77).all()
        assert memory[-1] == 77
        _core.kernels_decode(codec, dest[1:-1], code, isa)
        assert untouched(dest)
        found.append((code.tobytes(), dest[1:-1].copy()))
    assert all(code == found[0][0] and same_bits(values, found[0][1]) for code, values in found)


@pytest.mark.parametrize("codec", NARROW)
@every_isa
def test_16_bits_are_rounded_like_everywhere_else(codec: str, isa: str) -> None:
    """All values of the narrow type, and what lies on, before and behind the middle of two: ties go to even."""
    dtype = NARROW[codec]
    every = np.arange(1 << 16, dtype=np.uint16).view(dtype)
    wide = every.astype(np.float32)
    assert same_bits(decode(codec, every.view(np.uint8), every.size, isa), wide)
    finite = wide[np.isfinite(wide)]
    step = np.uint32(1 << (12 if codec == "float16" else 15))
    middle = (finite.view(np.uint32) + step).view(np.float32)
    x = np.concatenate([wide, middle, np.nextafter(middle, np.float32(0)), np.nextafter(middle, np.float32(np.inf))])
    with np.errstate(over="ignore", invalid="ignore"):
        want = x.astype(dtype)
    assert same_bits(encode(codec, x, isa).view(dtype), want)


def reference(x: NDArray[np.float32]) -> bytes:
    """Encode finite values to int8 blocks, in NumPy's float32."""
    code = b""
    for start in range(0, x.size, BLOCK):
        block = x[start : start + BLOCK]
        scale = np.clip(np.abs(block).max() / np.float32(127), 2.0**-126, np.float32(MOST / 127.00002))
        code += np.float32(scale).tobytes() + np.rint(block * (1 / np.float32(scale))).astype(np.int8).tobytes()
    return code


@every_isa
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000])
def test_blocks_are_a_scale_and_bytes(isa: str, count: int) -> None:
    x = np.random.default_rng(count).standard_normal(count).astype(np.float32)
    x[::7] *= 1e-3
    assert encode("int8", x, isa).tobytes() == reference(x)


@every_isa
def test_golden_block(isa: str) -> None:
    """Ties to even: 0.5, 1.5 and 2.5 steps are 0, 2 and 2."""
    x = np.array([127, -127, 0.5, 1.5, 2.5, -2.5, -0.0], np.float32)
    code = encode("int8", x, isa)
    assert code[:4].view(np.float32) == 1
    assert list(code[4:].view(np.int8)) == [127, -127, 0, 2, 2, -2, 0]
    assert same_bits(decode("int8", code, x.size, isa), np.array([127, -127, 0, 2, 2, -2, 0], np.float32))


@every_isa
@pytest.mark.parametrize(
    "largest", [0.0, 1e-45, 2.0**-126, 2.0**-119, 1.0, MOST, float(np.nextafter(np.float32(MOST), 0))]
)
def test_blocks_at_the_borders_of_float32(isa: str, largest: float) -> None:
    x = np.array([largest, -largest, 0, largest / 2], np.float32)
    got = decode("int8", encode("int8", x, isa), x.size, isa)
    assert np.isfinite(got).all()
    assert (np.abs(got.astype(np.float64) - x) <= bound("int8", x)).all()


@every_isa
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_block_that_is_not_finite_is_nan_and_its_neighbours_are_not(isa: str, bad: float) -> None:
    for where in (64, 100, 127):
        x = np.ones(200, np.float32)
        x[where] = bad
        got = decode("int8", encode("int8", x, isa), x.size, isa)
        assert np.isnan(got[64:128]).all()
        assert (got[:64] == 1).all()
        assert (got[128:] == 1).all()


@pytest.mark.parametrize("codec", NARROW)
@every_isa
def test_16_bits_keep_what_is_not_finite(codec: str, isa: str) -> None:
    x = np.array([np.inf, -np.inf, np.nan, MOST], np.float32)
    got = decode(codec, encode(codec, x, isa), x.size, isa)
    assert same_bits(got, np.array([np.inf, -np.inf, np.nan, np.inf], np.float32))


@every_codec
def test_a_range_may_be_cut_between_blocks(codec: str) -> None:
    x = np.random.default_rng(1).standard_normal(500).astype(np.float32)
    parts = [encode(codec, x[a:b]).tobytes() for a, b in ((0, 64), (64, 320), (320, 500))]
    assert b"".join(parts) == encode(codec, x).tobytes()


def test_bytes_on_the_wire() -> None:
    sizes = {codec: [_core.kernels_encoded_bytes(codec, n) for n in (0, 1, 64, 65)] for codec in CODECS}
    assert sizes["int8"] == [0, 5, 68, 73]
    assert sizes["float16"] == sizes["bfloat16"] == [0, 2, 128, 130]
    assert sizes["float32"] == [0, 4, 256, 260]
    with pytest.raises(ValueError, match="unknown codec"):
        _core.kernels_encoded_bytes("int4", 1)
    with pytest.raises(ValueError, match="the code is 5 bytes, got 4"):
        _core.kernels_decode("int8", np.empty(1, np.float32), np.empty(4, np.uint8))
