"""Gradients on the way to an optimiser: are they finite, and DC-ASGD's compensation of their delay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from pyccl import _core
from tests.floats import ISAS, guarded, same_bits, untouched

FLOATS = st.floats(width=32) | st.sampled_from([0.0, -0.0, 1e-45, 3e38])
FINITE = FLOATS.filter(np.isfinite)
every_isa = pytest.mark.parametrize("isa", ISAS)


def row(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


@every_isa
def test_one_value_that_is_not_finite_is_found_anywhere(isa: str) -> None:
    for count in range(70):
        x = guarded(np.full(count, np.finfo(np.float32).max), 3)
        x[0] = x[-1] = np.nan
        assert _core.all_finite(x[1:-1], isa)
        for k in range(count):
            for bad in (np.nan, np.inf, -np.inf):
                copy = x.copy()
                copy[1 + k] = bad
                assert not _core.all_finite(copy[1:-1], isa), (count, k)


@every_isa
def test_golden_compensation(isa: str) -> None:
    """f = w², computed at 1 and applied at 0.7: lambda = 1/2 gives the very gradient at 0.7."""
    out = np.empty(1, np.float32)
    _core.kernels_compensate(out, row(2), row(0.7), row(1), 0.5, isa=isa)
    np.testing.assert_allclose(out, [1.4], rtol=1e-6)


@every_isa
def test_adaptive_compensation(isa: str) -> None:
    """v = 0.95 · 0.3 + 0.05 · 2², and 2/√(v + ε) for lambda."""
    out, v = np.empty(1, np.float32), row(0.3)
    _core.kernels_compensate(out, row(2), row(0.7), row(1), 2.0, v, 0.95, 1e-7, isa)
    np.testing.assert_allclose(v, [0.485], rtol=1e-6)
    np.testing.assert_allclose(out, [2 + 2 / (0.485 + 1e-7) ** 0.5 * 4 * -0.3], rtol=1e-6)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("moved", [False, True])
@every_isa
@given(gradient=hnp.arrays(np.float32, st.integers(0, 40), elements=FLOATS))
def test_without_lambda_or_delay_the_gradient_keeps_its_bits(
    gradient: NDArray[np.float32], adaptive: bool, moved: bool, isa: str
) -> None:
    """-0 and gradients whose square overflows as well."""
    out, w = np.empty_like(gradient), np.full_like(gradient, 0.7)
    rest = (np.zeros_like(gradient), 0.95, 1e-7) if adaptive else (None, 0.0, 0.0)
    _core.kernels_compensate(out, gradient, w, w + 1 if moved else w.copy(), 0.0 if moved else 0.04, *rest, isa)
    assert np.array_equal(out.view(np.uint32), gradient.view(np.uint32))


@pytest.mark.parametrize("adaptive", [False, True])
@given(data=st.data(), count=st.integers(0, 70), offset=st.integers(0, 67))
def test_compensation_has_the_same_bits_everywhere(data: Any, count: int, offset: int, adaptive: bool) -> None:
    rows = data.draw(hnp.arrays(np.float32, (4, count), elements=FLOATS))
    found = []
    for isa in ISAS:
        copies = [guarded(values, offset * (k + 1) % 68) for k, values in enumerate(rows)]
        g, w, backup, v = (copy[1:-1] for copy in copies)
        rest = (v, 0.95, 1e-7) if adaptive else (None, 0.0, 0.0)
        _core.kernels_compensate(g, g, w, backup, 0.04, *rest, isa)  # in place
        assert all(map(untouched, copies))
        found.append([g.copy(), v.copy()])
    assert all(same_bits(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


@every_isa
def test_compensation_is_the_formula(isa: str) -> None:
    g, w, backup = np.random.default_rng(5).standard_normal((3, 5000)).astype(np.float32)
    out = np.empty_like(g)
    _core.kernels_compensate(out, g, w, backup, 0.04, isa=isa)
    assert same_bits(out, g + np.float32(0.04) * g * g * (w - backup))  # the same roundings, one by one
