"""Quantities as a person writes them ("200 Gbit/s", "3 us", "64 MiB", "5000 USD"), in SI units as the code has them."""

from __future__ import annotations

import math
import re
from numbers import Real
from types import MappingProxyType
from typing import TypeAlias

from pyccl.errors import ConfigError

Quantity: TypeAlias = float | str
"""A text with a unit, or a number that is in SI units already."""

_NUMBER = re.compile(r"\s*([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*?)\s*", re.DOTALL)
_LONGEST = 6000  # characters, so that a text is refused before it is tried in every way
_BYTES = {
    "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15,
    "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40, "PiB": 2.0**50,
    "bit": 0.125, "kbit": 125.0, "Mbit": 125e3, "Gbit": 125e6, "Tbit": 125e9,
}  # fmt: skip
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_UNITS = MappingProxyType(
    {
        "size": _BYTES,
        "time": _SECONDS,
        "rate": {f"{unit}/s": factor for unit, factor in _BYTES.items()},
        "speed": {"flop/s": 1.0, "Gflop/s": 1e9, "Tflop/s": 1e12, "Pflop/s": 1e15},
        "money": {"USD": 1.0},
        "price": {f"USD/{unit}": 1 / _SECONDS[unit] for unit in ("s", "min", "h", "d")},
        "power": {"W": 1.0, "kW": 1e3, "MW": 1e6},
        "egress": {f"USD/{unit}": 1 / factor for unit, factor in _BYTES.items() if unit.endswith("B")},
    }
)
EXAMPLES = MappingProxyType(
    {
        "size": "64 MiB", "time": "3 us", "rate": "200 Gbit/s", "speed": "312 Tflop/s", "money": "5000 USD",
        "price": "2.5 USD/h", "power": "700 W", "egress": "0.09 USD/GB",
    }
)  # fmt: skip


def parse(value: Quantity, kind: str, what: str) -> float:
    """Return `value` in SI units.

    Parameters
    ----------
    value : str or float
        A text needs a unit; a number is taken to be in SI units.
    kind : {"size", "time", "rate", "speed", "money", "price", "power", "egress"}
        Bytes, seconds, bytes/s, flop/s, USD, USD/s, W, USD/byte.
    what : str
        How an error names the setting.

    Raises
    ------
    ConfigError
        If it is no such quantity, is negative or is not finite; the message says what to write.

    Examples
    --------
    >>> parse("200 Gbit/s", "rate", "nic"), parse("3 us", "time", "latency"), parse("64 MiB", "size", "nbytes")
    (25000000000.0, 3e-06, 67108864.0)
    """
    example = f"write for example {EXAMPLES[kind]!r}"
    if isinstance(value, str):
        match = _NUMBER.fullmatch(value) if len(value) <= _LONGEST else None
        if match is None:
            raise ConfigError(f"{what}: {value[:60]!r} is no {kind}; {example}")
        number, unit = float(match[1]), match[2]
        if not unit:
            raise ConfigError(f"{what}: {value!r} has no unit; {example}")
        if unit not in _UNITS[kind]:
            raise ConfigError(f"{what}: {unit[:20]!r} is no unit of a {kind}; {_advice(unit, kind)}")
        number = _scale(number, _UNITS[kind][unit])
    elif isinstance(value, Real) and not isinstance(value, bool):
        number = float(value)
    else:
        raise ConfigError(f"{what}: {value!r} is no {kind}; {example}")
    if not math.isfinite(number) or number < 0:
        raise ConfigError(f"{what} must be a finite {kind} of at least 0, got {value!r}")
    return number


def _scale(number: float, factor: float) -> float:
    """Multiply, or divide by what is a whole number: 3 us is then the same float as 3e-6."""
    return number / round(1 / factor) if factor < 1 else number * factor


def _advice(unit: str, kind: str) -> str:
    near = [known for known in _UNITS[kind] if known.lower() == unit.lower()]
    return f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(_UNITS[kind])}"


def nbytes(value: Quantity, what: str = "nbytes") -> int:
    """Return a whole number of bytes.

    Raises
    ------
    ConfigError
        As `parse`, or if it is not whole.
    """
    number = parse(value, "size", what)
    if number != int(number):
        raise ConfigError(f"{what} must be a whole number of bytes, got {value!r}")
    return int(number)


def positive(value: Quantity, kind: str, what: str) -> float:
    """Return a quantity above 0, as `parse` does."""
    number = parse(value, kind, what)
    if number == 0:
        raise ConfigError(f"{what} must be above 0, got {value!r}")
    return number


def text(value: float, kind: str) -> str:
    """Return `value` as a text that `parse` reads back exactly: SI units, the shortest digits.

    Examples
    --------
    >>> text(12.5e9, "rate"), text(1e-6, "time")
    ('12500000000.0 B/s', '1e-06 s')
    """
    unit = next(unit for unit, factor in _UNITS[kind].items() if factor == 1)
    return f"{value!r} {unit}"
