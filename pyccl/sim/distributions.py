"""Distributions of times, as a person writes them: "lognormal(mean=180 ms, cv=0.15)"."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyccl import _core
from pyccl.errors import ConfigError
from pyccl.sim import quantity
from pyccl.sim.distribution_shapes import ALLOWED, KINDS, MOMENTS, PARAMETERS, TIMES, moments_of_table
from pyccl.sim.settings import unknown

Floats = NDArray[np.float64]

_TEXT = re.compile(r"\s*(\w+)\s*\((.*)\)\s*", re.DOTALL)
QUOTES = "'\""
_MOST_VALUES = 10_000_000
_ALIASES = MappingProxyType({"shifted_exponential": "exponential", "exp": "exponential"})


@dataclass(frozen=True)
class Distribution:
    """How long something takes.

    Attributes
    ----------
    kind : str
    given : mapping of str to float
        Parameters, times in seconds.
    relative : bool
        Whether times are multiples of the model's own time: none of them had a unit.
    path : str
        Of an empirical one.
    """

    kind: str
    given: Mapping[str, float]
    relative: bool
    path: str = ""
    values: tuple[float, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Distribution:
        """Return the distribution that a text describes.

        Each has a `mean` and a `cv` (standard deviation over mean); besides, ``constant(180 ms)``, ``uniform(low=,
        high=)``, ``exponential(shift=, mean=)``, ``gamma(mean=, shape=)``, ``pareto(mean=, shape=)``, ``weibull(mean=,
        shape=)`` and ``empirical(FILE)``, a file with a number of seconds a line. Without a mean, or with numbers
        without a unit, times are multiples of the model's own.

        Raises
        ------
        ConfigError
            If it is no distribution; the message says what to write.

        Examples
        --------
        >>> d = Distribution.parse("exponential(shift=100 ms, mean=180 ms)")
        >>> round(d.mean(), 3), round(d.cv(), 3), str(d)
        (0.18, 0.444, 'exponential(shift=0.1 s, mean=0.18 s)')
        """
        match = _TEXT.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ConfigError(f"{text!r} is no distribution; write for example 'lognormal(mean=180 ms, cv=0.15)'")
        kind = _ALIASES.get(match[1], match[1])
        if kind not in KINDS:
            raise ConfigError(unknown(match[1], KINDS, "the list of distributions"))
        if kind == "empirical":
            return _empirical(match[2])
        given, units = _arguments(kind, match[2])
        if len(units) > 1:
            raise ConfigError(f"{text!r} mixes times with and without a unit; give all of them one")
        made = cls(kind, MappingProxyType(given), units != {True})
        made._core()
        return made

    def __str__(self) -> str:
        if self.kind == "empirical":
            mean = f", mean={self._written('mean')}" if "mean" in self.given else ""
            return f"empirical({self.path}{mean})"
        if self.kind == "constant":
            return f"constant({self._written('value')})"
        return f"{self.kind}({', '.join(f'{key}={self._written(key)}' for key in self.given)})"

    def _written(self, key: str) -> str:
        value = self.given[key]
        return repr(value) if self.relative or key not in TIMES else quantity.text(value, "time")

    def mean(self) -> float:
        """Return the mean in seconds, or in multiples of the model's time."""
        return self._moments()[0]

    def cv(self) -> float:
        """Return standard deviation over mean."""
        mean, variance = self._moments()
        return math.sqrt(variance) / mean if mean else 0.0

    def quantile(self, share: ArrayLike) -> Floats:
        """Return the values below which `share` of all lie.

        Raises
        ------
        ValueError
            If a share is not above 0 and below 1.
        """
        shares = np.asarray(share, dtype=float)
        return self.core().quantile(shares.reshape(-1)).reshape(shares.shape)

    def core(self, scale: float = 1.0) -> _core.SimDistribution:
        """Return what C++ draws from: seconds if `scale` is the model's time."""
        kind, a, b, c = self._core()
        times = scale if self.relative else 1.0
        if kind == 3:  # lognormal: the mean of the logarithm moves
            a += math.log(times) if times > 0 else -math.inf
        elif kind == 5:
            b *= times
        elif kind in (6, 7):
            a *= times
        else:
            a, b = a * times, b * times
        return _core.SimDistribution(kind, a, b, c, [v * times for v in self.values])

    def _core(self) -> tuple[int, float, float, float]:
        """Return kind and parameters as csrc/sim/distributions.h has them."""
        found = PARAMETERS[self.kind](self.given)
        if not all(math.isfinite(x) for x in found):
            raise ConfigError(f"{self} has no finite parameters")
        return KINDS.index(self.kind), *found

    def _moments(self) -> tuple[float, float]:
        """Return mean and variance."""
        _, a, b, c = self._core()
        return MOMENTS[self.kind](a, b, c) if self.kind != "empirical" else moments_of_table(self.values)


def _arguments(kind: str, text: str) -> tuple[dict[str, float], set[bool]]:
    """Return parameters, and whether times have units."""
    given: dict[str, float] = {}
    units: set[bool] = set()
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            key, value = ("value" if kind == "constant" else "mean"), part
        if key not in ALLOWED[kind]:
            raise ConfigError(unknown(key, ALLOWED[kind], kind))
        if key in given:
            raise ConfigError(f"{kind}: {key} is given twice")
        given[key] = _number(f"{kind}: {key}", key, value, units)
    if kind == "constant" and "mean" in given:
        given = {"value": given["mean"]}
    shapes = [key for key in ("cv", "shape") if key in given]
    if len(shapes) > 1 or ("cv" in given and ("shift" in given or "low" in given or "high" in given)):
        raise ConfigError(f"{kind}: {' and '.join(given)} contradict each other; give mean and one of the rest")
    if ("low" in given) != ("high" in given) or ("low" in given and "mean" in given):
        raise ConfigError("uniform: write low and high, or mean and cv")
    return given, units


def _number(what: str, key: str, text: str, units: set[bool]) -> float:
    """Return a parameter; note whether a time has a unit."""
    try:
        value = float(text)
        if key in TIMES:
            units.add(False)
    except ValueError:
        if key not in TIMES:
            raise ConfigError(f"{what} must be a number, got {text[:40]!r}") from None
        units.add(True)
        value = quantity.parse(text, "time", what)
    if not math.isfinite(value) or value < 0 or (value == 0 and key in ("mean", "shape")):
        raise ConfigError(f"{what} must be {'above' if key in ('mean', 'shape') else 'at least'} 0, got {text!r}")
    return value


def _empirical(text: str) -> Distribution:
    """Read a file of numbers."""
    path, _, rest = (piece.strip() for piece in text.partition(","))
    path = path.strip(QUOTES)
    if named := re.match(r"(?:file|path|name)\s*=\s*(.*)", path):
        raise ConfigError(f"empirical({path}): write the file alone: empirical({named[1].strip(QUOTES)})")
    given, units = _arguments("empirical", rest)
    values: list[float] = []
    try:
        with Path(path).open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not (word := line.partition("#")[0].strip()):
                    continue
                try:
                    values.append(float(word))
                except ValueError:
                    raise ConfigError(f"{path}:{number}: {word[:40]!r} is no number of seconds") from None
                if not (0 <= values[-1] < math.inf):
                    raise ConfigError(f"{path}:{number}: a time must be finite and at least 0, got {word[:40]!r}")
                if len(values) > _MOST_VALUES:
                    raise ConfigError(f"{path}: more than {_MOST_VALUES} values")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"empirical({path}): {error}") from None
    if not values or max(values) == 0:
        raise ConfigError(f"{path}: no times in it; write a number of seconds a line")
    mean = moments_of_table(tuple(sorted(values)))[0]
    scale = given["mean"] / mean if given else 1.0
    table = tuple(value * scale for value in sorted(values))
    return Distribution("empirical", MappingProxyType(given), units == {False}, path, table)


def make(value: Any, what: str) -> Distribution:
    """Return a distribution from a text or a Distribution; errors name `what`."""
    if isinstance(value, Distribution):
        return value
    try:
        return Distribution.parse(value)
    except ConfigError as error:
        raise ConfigError(f"{what}: {error}") from None
