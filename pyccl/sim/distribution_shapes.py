"""What distributions are given by, the parameters that C++ has of them, and their moments."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from pyccl.errors import ConfigError

KINDS = ("constant", "uniform", "normal", "lognormal", "exponential", "gamma", "pareto", "weibull", "empirical")
"""In the order of csrc/sim/distributions.h."""

TIMES = frozenset({"mean", "value", "low", "high", "shift"})
ALLOWED = MappingProxyType(
    {
        "constant": ("value", "mean"),
        "uniform": ("low", "high", "mean", "cv"),
        "exponential": ("shift", "mean", "cv"),
        "gamma": ("mean", "cv", "shape"),
        "pareto": ("mean", "cv", "shape"),
        "weibull": ("mean", "cv", "shape"),
        "normal": ("mean", "cv"),
        "lognormal": ("mean", "cv"),
        "empirical": ("mean",),
    }
)


def _mean(given: Mapping[str, float]) -> float:
    return given.get("mean", 1.0)


def _uniform(given: Mapping[str, float]) -> tuple[float, float, float]:
    if "low" in given:
        low, high = given["low"], given["high"]
    else:
        half = math.sqrt(3) * _mean(given) * given.get("cv", 0.0)
        low, high = _mean(given) - half, _mean(given) + half
    if not 0 <= low <= high:
        raise ConfigError("uniform: low must be at least 0 and at most high (a cv is at most 0.577)")
    return low, high, 0.0


def _normal(given: Mapping[str, float]) -> tuple[float, float, float]:
    cv = given.get("cv", 0.0)
    if cv > 0.5:
        raise ConfigError(f"normal: a cv of {cv:g} gives too many negative times; write lognormal or gamma")
    return _mean(given), cv * _mean(given), 0.5 * math.erfc(1 / cv / math.sqrt(2)) if cv else 0.0


def _lognormal(given: Mapping[str, float]) -> tuple[float, float, float]:
    variance = math.log1p(given.get("cv", 0.0) ** 2)
    return math.log(_mean(given)) - variance / 2, math.sqrt(variance), 0.0


def _exponential(given: Mapping[str, float]) -> tuple[float, float, float]:
    cv = given.get("cv", 1.0)
    shift = given.get("shift", max(0.0, 1 - cv) * _mean(given))
    mean = given.get("mean", shift + 1.0 if "shift" in given else 1.0)
    if cv > 1 or shift > mean:
        raise ConfigError("exponential: shift must be at most mean, and cv at most 1")
    return shift, mean - shift, 0.0


def _gamma(given: Mapping[str, float]) -> tuple[float, float, float]:
    shape = given.get("shape", 1 / max(given.get("cv", 1.0), 1e-4) ** 2)
    return shape, _mean(given) / shape, 0.0


def _pareto(given: Mapping[str, float]) -> tuple[float, float, float]:
    cv = given.get("cv", 0.5)
    shape = given.get("shape", 1 + math.sqrt(1 + 1 / max(cv, 1e-6) ** 2))
    if shape <= 1:
        raise ConfigError(f"pareto: a shape of {shape:g} has no mean; write one above 1")
    return _mean(given) * (shape - 1) / shape, shape, 0.0


def _weibull(given: Mapping[str, float]) -> tuple[float, float, float]:
    shape = given["shape"] if "shape" in given else _weibull_shape(given.get("cv", 1.0))
    if not 0.05 <= shape <= 1e5:
        raise ConfigError("weibull: shape must lie between 0.05 and 1e5 (cv between 1e-5 and 1e9)")
    return _mean(given) / math.gamma(1 + 1 / shape), shape, 0.0


def _weibull_shape(cv: float) -> float:
    """Return the shape whose coefficient of variation is `cv`, by bisection of its logarithm."""
    low, high = math.log(0.05), math.log(1e5)
    for _ in range(200):
        middle = (low + high) / 2
        first, second = (math.lgamma(1 + n / math.exp(middle)) for n in (1, 2))
        low, high = (middle, high) if math.expm1(second - 2 * first) > cv * cv else (low, middle)
    return math.exp(low)


_Parameters = Callable[[Mapping[str, float]], tuple[float, float, float]]
PARAMETERS: Mapping[str, _Parameters] = MappingProxyType(
    {
        "constant": lambda given: (given.get("value", 1.0), 0.0, 0.0), "uniform": _uniform, "normal": _normal,
        "lognormal": _lognormal, "exponential": _exponential, "gamma": _gamma, "pareto": _pareto,
        "weibull": _weibull, "empirical": lambda given: (0.0, 0.0, 0.0),
    }
)  # fmt: skip


def _normal_moments(a: float, b: float, c: float) -> tuple[float, float]:
    """Return mean and variance of a normal distribution cut off at 0."""
    if not b:
        return a, 0.0
    z = a / b
    ratio = math.exp(-z * z / 2) / math.sqrt(2 * math.pi) / (1 - c)
    return a + b * ratio, b * b * (1 - z * ratio - ratio * ratio)


def _pareto_moments(a: float, b: float, _: float) -> tuple[float, float]:
    mean = a * b / (b - 1)
    return mean, a * a * b / ((b - 1) ** 2 * (b - 2)) if b > 2 else math.inf


def _weibull_moments(a: float, b: float, _: float) -> tuple[float, float]:
    first, second = (math.gamma(1 + n / b) for n in (1, 2))
    return a * first, a * a * (second - first * first)


def moments_of_table(values: tuple[float, ...]) -> tuple[float, float]:
    """Return mean and variance of straight lines between the values."""
    if len(values) == 1:
        return values[0], 0.0
    low, high = np.array(values[:-1]), np.array(values[1:])
    mean = float(((low + high) / 2).mean())
    return mean, float(((low * low + low * high + high * high) / 3).mean()) - mean * mean


MOMENTS: Mapping[str, Callable[[float, float, float], tuple[float, float]]] = MappingProxyType(
    {
        "constant": lambda a, b, c: (a, 0.0), "uniform": lambda a, b, c: ((a + b) / 2, (b - a) ** 2 / 12),
        "normal": _normal_moments,
        "lognormal": lambda a, b, c: (math.exp(a + b * b / 2), math.exp(2 * a + b * b) * math.expm1(b * b)),
        "exponential": lambda a, b, c: (a + b, b * b), "gamma": lambda a, b, c: (a * b, a * b * b),
        "pareto": _pareto_moments, "weibull": _weibull_moments,
    }
)  # fmt: skip
