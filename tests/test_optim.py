"""Optimisers against their papers, the same bits on every instruction set, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from pyccl import _core, optim
from pyccl.errors import ConfigError
from pyccl.policy import Sync
from pyccl.server.flows import flow_of
from tests.floats import ISAS, guarded, same_bits, untouched

UNIT = 2.0**-24  # of rounding a float32
OPTIMIZERS = (
    optim.SGD(0.1, weight_decay=0.01),
    optim.Momentum(0.1, 0.9, 0.01),
    optim.Nesterov(0.1, 0.9, 0.01),
    optim.Adagrad(0.1, 0.01),
    optim.RMSProp(0.1, weight_decay=0.01),
    optim.Adam(0.1, weight_decay=0.01),
    optim.AdamW(0.1),
    optim.LAMB(0.1),
    optim.FTRL(0.1, l1=0.5, l2=0.1),
    optim.Lion(0.1, weight_decay=0.01),
)


def each_but(*left_out: type[optim.Optimizer]) -> pytest.MarkDecorator:
    chosen = [how for how in OPTIMIZERS if not isinstance(how, left_out)]
    return pytest.mark.parametrize("how", chosen, ids=lambda how: type(how).__name__)


every = each_but()


def adam_moments(how: Any, state: list[Any], g: Any, t: int) -> tuple[list[Any], Any]:
    (first, second), (m, v) = how.betas, state
    m, v = first * m + (1 - first) * g, second * v + (1 - second) * g**2
    return [m, v], m / (1 - first**t) / (np.sqrt(v / (1 - second**t)) + how.eps)


def follow_the_leader(how: optim.FTRL, w: Any, state: list[Any], g: Any) -> tuple[Any, list[Any]]:
    z, n = state
    z = z + g - (np.sqrt(n + g**2) - np.sqrt(n)) / how.lr * w
    n = n + g**2
    w = -(z - np.sign(z) * how.l1) / ((how.beta + np.sqrt(n)) / how.lr + how.l2)
    return np.where(np.abs(z) <= how.l1, 0, w), [z, n]


def paper(how: Any, w: Any, state: list[Any], g: Any, t: int) -> tuple[Any, list[Any]]:
    """Return parameters and state after step `t` as the papers write it."""
    decoupled = isinstance(how, (optim.AdamW, optim.LAMB, optim.Lion))
    decay = 0.0 if isinstance(how, optim.FTRL) else how.weight_decay
    if not decoupled:
        g = g + decay * w
    match how:
        case optim.SGD():
            return w - how.lr * g, []
        case optim.Momentum():
            v = how.momentum * state[0] + g
            return w - how.lr * (g + how.momentum * v if isinstance(how, optim.Nesterov) else v), [v]
        case optim.Adagrad():
            s = state[0] + g**2
            return w - how.lr * g / (np.sqrt(s) + how.eps), [s]
        case optim.RMSProp():
            s = how.alpha * state[0] + (1 - how.alpha) * g**2
            return w - how.lr * g / (np.sqrt(s) + how.eps), [s]
        case optim.Adam() | optim.AdamW():
            state, u = adam_moments(how, state, g, t)
            return (w * (1 - how.lr * decay) if decoupled else w) - how.lr * u, state
        case optim.LAMB():
            state, u = adam_moments(how, state, g, t)
            u = u + decay * w
            return w - how.lr * np.linalg.norm(w) / np.linalg.norm(u) * u, state
        case optim.FTRL():
            return follow_the_leader(how, w, state, g)
        case _:
            m, (first, second) = state[0], how.betas
            sign = np.sign(first * m + (1 - first) * g)
            return w - how.lr * (sign + decay * w), [second * m + (1 - second) * g]


def arrays(how: optim.Optimizer, count: int) -> tuple[NDArray[np.float32], list[NDArray[np.float32]], NDArray[Any]]:
    """Draw parameters, a state whose roots are between 0.7 and 3, and a gradient."""
    random = np.random.default_rng(count)
    w, g = (random.standard_normal(count).astype(np.float32) for _ in range(2))
    state = [random.standard_normal(count).astype(np.float32) for _ in range(how.slots)]
    if how.slots and not isinstance(how, (optim.Momentum, optim.Lion)):
        state[-1] = random.uniform(0.5, 9, count).astype(np.float32)
    return w, state, g


@every
@pytest.mark.parametrize("t", [2, 1000])
def test_a_step_is_that_of_the_paper(how: optim.Optimizer, t: int) -> None:
    """No term is above 8, and no root below 0.7: after at most 16 roundings, of a unit of the terms each, float32
    differs from float64 by 16 units of all terms together."""
    w, state, g = arrays(how, 20_000)
    want, states = paper(how, *(np.float64(w), [np.float64(s) for s in state], np.float64(g) * 0.5), t)
    how.step(w, state, g, t, scale=0.5)
    wrong = np.abs(w - want) > 16 * UNIT * (np.abs(want) + 8)
    assert wrong.sum() <= (3 if isinstance(how, optim.Lion) else 0)  # a sum that rounds to the other side of zero
    for got, value in zip(state, states, strict=True):
        np.testing.assert_allclose(got, value, rtol=0, atol=16 * UNIT * np.abs(value).max())


@every
def test_twenty_steps_from_the_start(how: optim.Optimizer) -> None:
    """Errors of state and parameters grow with the steps; 20 of them, and 16 roundings in each, are below 1e-4."""
    w = np.zeros(1000, np.float32) if isinstance(how, optim.FTRL) else arrays(how, 1000)[0]
    state = [np.zeros_like(w) for _ in range(how.slots)]
    want, states = np.float64(w), [np.float64(s) for s in state]
    for t in range(1, 21):
        g = arrays(how, 1000 + t)[2][:1000]
        how.step(w, state, g, t)
        want, states = paper(how, want, states, np.float64(g), t)
    np.testing.assert_allclose(w, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("how", "w", "g", "want"),
    [
        (optim.SGD(0.5, weight_decay=1), [1, 2], [2, 0], [-0.5, 1]),
        (optim.Momentum(1, 0.5), [0], [1], [-1, -2.5]),
        (optim.Nesterov(1, 0.5), [0], [1], [-1.5, -3.25]),
        (optim.Adagrad(1), [1, 1], [8, 0], [0, 1]),
        (optim.RMSProp(0.5, alpha=0.75), [1], [2], [0]),
        (optim.Adam(0.1), [1, 1], [2, -7], [0.9, 1.1]),
        (optim.AdamW(0.1, weight_decay=0.5), [1], [2], [0.85]),
        (optim.LAMB(0.1, weight_decay=0), [3, 4], [1, 1], [3 - 0.5 / 2**0.5, 4 - 0.5 / 2**0.5]),
        (optim.LAMB(0.1, weight_decay=0), [0, 0], [1, 1], [-0.1, -0.1]),
        (optim.FTRL(1, l1=0.5), [0, 0], [1, 0.25], [-0.25, 0]),
        (optim.FTRL(1, beta=3, l1=0.5, l2=1), [2, -2], [0, 0], [2, -2]),
        (optim.Lion(0.1, weight_decay=0.5), [1, 1], [3, 0], [0.85, 0.95]),
    ],
)
def test_golden_steps(how: optim.Optimizer, w: list[float], g: list[float], want: list[float]) -> None:
    """Worked by hand; a longer `want` is that of the steps in a row."""
    x, state = np.array(w, np.float32), [np.zeros(len(w), np.float32) for _ in range(how.slots)]
    for t in range(len(want) // len(w)):
        how.step(x, state, np.array(g, np.float32), t + 1)
        np.testing.assert_allclose(x, want[t * len(w) : (t + 1) * len(w)], rtol=2e-6, atol=1e-7)


@pytest.mark.torch
@each_but(optim.LAMB, optim.FTRL, optim.Lion)  # torch.optim has none
def test_steps_are_those_of_torch(how: optim.Optimizer) -> None:
    torch = pytest.importorskip("torch")
    named = {optim.RMSProp: "RMSprop", optim.Momentum: "SGD", optim.Nesterov: "SGD"}
    options = dict(vars(how), **({"nesterov": True} if isinstance(how, optim.Nesterov) else {}))
    w, _, _ = arrays(how, 4097)
    tensor = torch.tensor(w.copy(), requires_grad=True)
    theirs = getattr(torch.optim, named.get(type(how), type(how).__name__))([tensor], **options)
    state = [np.zeros_like(w) for _ in range(how.slots)]
    for t in range(1, 31):
        g = arrays(how, 4097 + t)[2][:4097]
        how.step(w, state, g, t)
        tensor.grad = torch.tensor(g)
        theirs.step()
    np.testing.assert_allclose(w, tensor.detach().numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.torch
def test_defaults_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    for how in (optim.SGD(), optim.Adagrad(), optim.RMSProp(), optim.Adam(), optim.AdamW()):
        name = {"RMSProp": "RMSprop"}.get(type(how).__name__, type(how).__name__)
        theirs = getattr(torch.optim, name)([torch.zeros(1, requires_grad=True)]).defaults
        assert {key: theirs[key] for key in vars(how)} == vars(how)


values = st.floats(width=32) | st.sampled_from([0.0, -0.0, inf, -inf, nan, 1e-45, 3e38, 1.0])


@every
@given(data=st.data(), count=st.integers(0, 70), offset=st.integers(0, 67), t=st.integers(1, 10_000))
def test_bits_do_not_depend_on_the_cpu_or_the_place(
    how: optim.Optimizer, data: Any, count: int, offset: int, t: int
) -> None:
    rows = data.draw(hnp.arrays(np.float32, (how.slots + 2, count), elements=values))
    found = []
    for isa in ISAS:
        copies = [guarded(row, offset * (k + 1) % 68) for k, row in enumerate(rows)]
        w, *state, g = (copy[1:-1] for copy in copies)
        how.core.update(w, state, g, t, 0.75, isa)
        assert all(map(untouched, copies)), "wrote beside the array"
        found.append([w.copy(), *(s.copy() for s in state)])
        assert same_bits(g, rows[-1])
    assert all(same_bits(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


@each_but(optim.LAMB)
@pytest.mark.parametrize("isa", ISAS)
def test_a_range_may_be_divided(how: optim.Optimizer, isa: str) -> None:
    w, state, g = arrays(how, 1000)
    parts, states = w.copy(), [s.copy() for s in state]
    how.core.update(w, state, g, 3, isa=isa)
    for a, b in ((0, 1), (1, 18), (18, 500), (500, 1000)):
        how.core.update(parts[a:b], [s[a:b] for s in states], g[a:b], 3, isa=isa)
    assert same_bits(w, parts)
    assert all(map(same_bits, state, states))


@pytest.mark.parametrize("count", [1, 15, 17, 65, 1000, 10_003])
def test_the_norms_of_a_layer_are_the_same_everywhere(count: int) -> None:
    """To the last bit of a double: at the very rate from which on the rounded step is another one, all agree."""

    def stepped(rate: float, isa: str) -> bytes:
        w, state, g = arrays(optim.LAMB(), count)
        optim.LAMB(rate).core.update(w, state, g, 7, isa=isa)
        return w.tobytes()

    low, high = 0.1, 0.1 * (1 + 2.0**-20)
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if stepped(middle, ISAS[0]) == stepped(low, ISAS[0]) else (low, middle)
    for rate in (low, high):
        assert len({stepped(rate, isa) for isa in ISAS}) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.SGD(lr=0), "SGD: lr must be"),
        (lambda: optim.SGD(lr=nan), "SGD: lr must be"),
        (lambda: optim.SGD(lr=True), "SGD: lr must be"),
        (lambda: optim.SGD(lr="1"), "SGD: lr must be"),
        (lambda: optim.Nesterov(momentum=1.0), r"Nesterov: momentum must be in \[0, 1\), got 1.0"),
        (lambda: optim.Adagrad(weight_decay=-1), "Adagrad: weight_decay must be"),
        (lambda: optim.RMSProp(alpha=1), "RMSProp: alpha must be"),
        (lambda: optim.Adam(eps=0), "Adam: eps must be"),
        (lambda: optim.Adam(eps=1e-50), "Adam: eps must be"),
        (lambda: optim.AdamW(betas=(0.9, 1.0)), "AdamW: betas must be"),
        (lambda: optim.LAMB(betas=0.9), "LAMB: betas must be a pair"),
        (lambda: optim.FTRL(0.1, beta=0), "FTRL: beta must be"),
        (lambda: optim.FTRL(0.1, l1=inf), "FTRL: l1 must be"),
        (lambda: replace(optim.Lion(), weight_decay=1e39), "Lion: weight_decay must be"),
    ],
)
def test_bad_settings_are_named(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def zeros(count: int = 4, dtype: str = "float32") -> NDArray[Any]:
    return np.zeros(count, dtype)


SHARED = zeros(8)
FROZEN = zeros()
FROZEN.setflags(write=False)


@pytest.mark.parametrize(
    ("parameters", "state", "gradient", "step", "error", "message"),
    [
        (zeros(dtype="float64"), [zeros()], zeros(), 1, TypeError, "parameters must be float32, got float64"),
        (zeros(dtype=">f4"), [zeros()], zeros(), 1, TypeError, "parameters must be float32"),
        (zeros(8)[::2], [zeros()], zeros(), 1, ValueError, "parameters must be C-contiguous"),
        (FROZEN, [zeros()], zeros(), 1, ValueError, "parameters is read-only"),
        (zeros(), [zeros(5)], zeros(), 1, ValueError, "state must have 4 values, got 5"),
        (zeros(), [zeros()], zeros(3), 1, ValueError, "gradient must have 4 values, got 3"),
        (zeros(), [], zeros(), 1, ValueError, "state must be 1 arrays, got 0"),
        (zeros(), [zeros()], zeros(), 0, ValueError, "step must be at least 1, got 0"),
        (SHARED[:4], [SHARED[3:7]], zeros(), 1, ValueError, "state must not overlap parameters"),
        (SHARED[:4], [zeros()], SHARED[3:7], 1, ValueError, "gradient must not overlap parameters"),
    ],
)
def test_bad_arrays_are_refused(
    parameters: Any, state: Any, gradient: Any, step: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        optim.Momentum().step(parameters, state, gradient, step)


def test_cores_compare_and_know_their_slots() -> None:
    assert optim.Adam().core == optim.Adam(eps=1e-8).core != optim.AdamW(weight_decay=0).core
    assert [how.slots for how in OPTIMIZERS] == [0, 1, 1, 1, 1, 2, 2, 2, 2, 1]
    assert [how for how in OPTIMIZERS if how.whole] == [optim.LAMB(0.1)]
    with pytest.raises(ValueError, match="unknown method"):
        _core.Optimizer("adamax", 1.0)


def test_a_server_takes_nothing_else() -> None:
    with pytest.raises(TypeError, match=r"optimizer must be one of pyccl.optim, got 'Adam'"):
        flow_of(Sync(), "Adam")
