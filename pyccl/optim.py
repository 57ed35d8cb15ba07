"""Optimisers of float32 parameters: what a server does with a gradient, and what `step` does to NumPy arrays.

Names and defaults are those of ``torch.optim`` where it has them. A gradient ``g`` changes parameters ``w``; ``t``, the
number of the step, counts from 1. State begins at zero. All bits are the same on every CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from pyccl import _core
from pyccl.errors import ConfigError

_FloatArray = npt.NDArray[np.float32]
_LEAST, _MOST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_FRACTION = (0.0, float(np.nextafter(1.0, 0.0)), "in [0, 1)")
_NOT_NEGATIVE = (0.0, _MOST, "a float32 that is not negative")
_POSITIVE = (_LEAST, _MOST, "a positive normal float32")
_RANGES = {
    "lr": _POSITIVE,
    "eps": _POSITIVE,
    "beta": _POSITIVE,
    "alpha": _FRACTION,
    "momentum": _FRACTION,
    "betas": _FRACTION,
    "weight_decay": _NOT_NEGATIVE,
    "l1": _NOT_NEGATIVE,
    "l2": _NOT_NEGATIVE,
}
# What the extension calls them; betas are its first and second.
_CORE = {
    "lr": "rate",
    "momentum": "first",
    "alpha": "second",
    "eps": "epsilon",
    "beta": "epsilon",
    "weight_decay": "decay",
    "l1": "l1",
    "l2": "l2",
}


@dataclass(frozen=True)
class Optimizer:
    """An optimiser's parameters. The state is the caller's: `slots` arrays like the parameters."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, (least, most, text) = getattr(self, field.name), _RANGES[field.name]
            pair = field.name == "betas"
            if pair and not (isinstance(value, tuple) and len(value) == 2):
                raise ConfigError(f"{type(self).__name__}: betas must be a pair, got {value!r}")
            for number in value if pair else (value,):
                if not isinstance(number, (int, float)) or isinstance(number, bool) or not least <= number <= most:
                    raise ConfigError(f"{type(self).__name__}: {field.name} must be {text}, got {value!r}")

    @property
    def core(self) -> _core.Optimizer:
        """The same as the extension has it."""
        settings = {_CORE[field.name]: getattr(self, field.name) for field in fields(self) if field.name != "betas"}
        settings.update(zip(("first", "second"), getattr(self, "betas", ()), strict=False))
        return _core.Optimizer(type(self).__name__.lower(), **settings)

    @property
    def slots(self) -> int:
        """How many float32 values of state a parameter has."""
        return self.core.slots

    @property
    def whole(self) -> bool:
        """Whether a step depends on all parameters together: `LAMB`, whose layer is what one call is given."""
        return self.core.whole

    def step(
        self,
        parameters: _FloatArray,
        state: Sequence[_FloatArray],
        gradient: _FloatArray,
        step: int,
        scale: float = 1.0,
    ) -> None:
        """Change `parameters` and `state` in place, by the kernel that servers run.

        Parameters
        ----------
        parameters : array of float32, shape (...,)
            C-contiguous, as all arrays here; none may overlap another.
        state : sequence of `slots` arrays of float32
            As many values as `parameters`; all zero before the first step.
        gradient : array of float32
            As many values as `parameters`.
        step : int
            The number of this step, from 1.
        scale : float, default 1.0
            The gradient is multiplied by it first.

        Raises
        ------
        TypeError
            If an array is not float32.
        ValueError
            If arrays do not fit, are read-only or overlap, or `step` is less than 1. Nothing has changed then.

        Examples
        --------
        >>> w = np.ones(2, np.float32)
        >>> SGD(lr=0.5).step(w, [], np.array([1, 2], np.float32), step=1)
        >>> w
        array([0.5, 0. ], dtype=float32)
        """
        self.core.update(parameters, list(state), gradient, step, scale)


@dataclass(frozen=True)
class SGD(Optimizer):
    """w -= lr (g + weight_decay w)  (H. Robbins, S. Monro, 1951, doi:10.1214/aoms/1177729586).

    Examples
    --------
    >>> SGD(lr=0.1).slots
    0
    """

    lr: float = 1e-3
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Momentum(Optimizer):
    """v = momentum v + g;  w -= lr v  (B. Polyak, 1964, doi:10.1016/0041-5553(64)90137-5).

    ``torch.optim.SGD(momentum=)``. The weight decay is added to g.

    Examples
    --------
    >>> w, v, one = (np.array([x], np.float32) for x in (0, 0, 1))
    >>> for t in (1, 2):
    ...     Momentum(lr=1, momentum=0.5).step(w, [v], one, t)
    >>> w, v
    (array([-2.5], dtype=float32), array([1.5], dtype=float32))
    """

    lr: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Nesterov(Momentum):
    """v = momentum v + g;  w -= lr (g + momentum v)  (Y. Bengio et al., 2013, doi:10.1109/ICASSP.2013.6639349).

    ``torch.optim.SGD(momentum=, nesterov=True)``. The weight decay is added to g.

    Examples
    --------
    >>> Nesterov(lr=0.1).momentum
    0.9
    """


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """s += g²;  w -= lr g / (√s + eps)  (J. Duchi, E. Hazan, Y. Singer, 2011, JMLR 12:2121-2159).

    The weight decay is added to g.

    Examples
    --------
    >>> w, s, g = (np.array([x], np.float32) for x in (1, 0, 8))
    >>> Adagrad(0.5).step(w, [s], g, step=1)
    >>> w, s
    (array([0.5], dtype=float32), array([64.], dtype=float32))
    """

    lr: float = 1e-2
    weight_decay: float = 0.0
    eps: float = 1e-10


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """s = alpha s + (1 - alpha) g²;  w -= lr g / (√s + eps)  (A. Graves, 2013, doi:10.48550/arXiv.1308.0850, after
    T. Tieleman and G. Hinton's lecture of 2012). The weight decay is added to g.

    Examples
    --------
    >>> RMSProp().alpha
    0.99
    """

    lr: float = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0


@dataclass(frozen=True)
class _Moments(Optimizer):
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Adam(_Moments):
    """m = β₁m + (1-β₁)g;  v = β₂v + (1-β₂)g²;  w -= lr m̂ / (√v̂ + eps), with m̂ = m/(1-β₁ᵗ) and v̂ = v/(1-β₂ᵗ)
    (D. Kingma, J. Ba, 2015, doi:10.48550/arXiv.1412.6980). The weight decay is added to g.

    Examples
    --------
    >>> Adam(lr=0.01).slots
    2
    """


@dataclass(frozen=True)
class AdamW(_Moments):
    """w = (1 - lr weight_decay) w; then as `Adam` without weight decay
    (I. Loshchilov, F. Hutter, 2019, doi:10.48550/arXiv.1711.05101).

    Examples
    --------
    >>> AdamW().weight_decay
    0.01
    """

    weight_decay: float = 1e-2


@dataclass(frozen=True)
class LAMB(_Moments):
    """u = m̂ / (√v̂ + eps) + weight_decay w;  w -= lr (‖w‖ / ‖u‖) u, m̂ and v̂ being those of `Adam`; where a norm is 0
    their ratio is 1  (Y. You et al., 2020, doi:10.48550/arXiv.1904.00962).

    A layer is the parameters of one call: one server has the whole of a table then.

    Examples
    --------
    >>> LAMB(lr=0.01).eps
    1e-06
    """

    eps: float = 1e-6
    weight_decay: float = 1e-2


@dataclass(frozen=True)
class FTRL(Optimizer):
    """FTRL-Proximal: σ = (√(n+g²) - √n) / lr;  z += g - σw;  n += g²;
    w = 0 if abs(z) ≤ l1, else -(z - sgn(z) l1) / ((beta + √n) / lr + l2)
    (H. B. McMahan et al., 2013, doi:10.1145/2487575.2488200).

    The paper begins at w = 0. Other weights stand until a gradient comes: z then begins where they follow from it.

    Examples
    --------
    >>> w, z, n, g = (np.array([x, x], np.float32) for x in (0, 0, 0, 1))
    >>> g[1] = 0.25
    >>> FTRL(lr=1, l1=0.5).step(w, [z, n], g, step=1)
    >>> w
    array([-0.25,  0.  ], dtype=float32)
    """

    lr: float
    beta: float = 1.0
    l1: float = 0.0
    l2: float = 0.0


@dataclass(frozen=True)
class Lion(Optimizer):
    """w -= lr (sgn(β₁m + (1-β₁)g) + weight_decay w);  m = β₂m + (1-β₂)g
    (X. Chen et al., 2023, doi:10.48550/arXiv.2302.06675).

    Examples
    --------
    >>> Lion().betas
    (0.9, 0.99)
    """

    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
