"""Every `PYCCL_*` environment variable, defined once: a field of `Settings` carries its name, rule and help."""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pyccl.errors import ConfigError

__all__ = ["Settings", "Variable", "load", "variables"]

PREFIX = "PYCCL_"
_BITS = MappingProxyType({"Mbit/s": 1e6, "Gbit/s": 1e9})


@dataclass(frozen=True)
class Variable:
    """One environment variable.

    Attributes
    ----------
    name : str
        As written in the environment.
    parse : callable
        From the text to the value; raises ValueError where the text is not one of `allowed`.
    default : str
        The text that stands for an unset or empty variable.
    allowed : str
        What may be written, for error messages and the documentation.
    help : str
        What it decides.
    """

    name: str
    parse: Callable[[str], object]
    default: str
    allowed: str
    help: str

    def value(self, text: str) -> object:
        """Return the value that `text` stands for; ConfigError names the variable and its choices."""
        try:
            return self.parse(text.strip() or self.default)
        except ValueError:
            raise ConfigError(f"{self.name} must be {self.allowed}, got {text!r}") from None


def _variable(name: str, parse: Callable[[str], object], default: str, allowed: str, help_: str) -> Any:
    variable = Variable(PREFIX + name, parse, default, allowed, help_)
    return field(default_factory=lambda: parse(default), metadata={"variable": variable})


def _choice(name: str, *choices: str, help_: str) -> Any:
    """Return a variable with a fixed set of values, of which the first is the default."""

    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(text)
        return text.lower()

    return _variable(name, parse, choices[0], "one of " + ", ".join(choices), help_)


def _seconds(text: str) -> float:
    value = float(text)
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(text)
    return value


def _optional_count(text: str) -> int | None:
    if text == "auto":
        return None
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _switch(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError(text)
    return text == "1"


def _optional_path(text: str) -> Path | None:
    return None if text == "none" else Path(text).expanduser()


def _links(text: str) -> Mapping[str, float]:
    """Return bytes per second by host name; "*" stands for all hosts that are not named."""
    if text == "equal":
        return MappingProxyType({})
    rates = {host: _bandwidth(rate) for host, rate in _assignments(text).items()}
    if "*" not in rates:
        raise ValueError(text)
    return MappingProxyType(rates)


def _bandwidth(text: str) -> float:
    number, unit = text.split()
    rate = float(number) * _BITS.get(unit, 0.0) / 8
    if not (rate > 0 and math.isfinite(rate)):
        raise ValueError(text)
    return rate


def _assignments(text: str) -> Mapping[str, str]:
    if text == "auto":
        return MappingProxyType({})
    pairs = [item.split("=") for item in text.split(",")]
    if any(len(pair) != 2 or not all(part.strip() for part in pair) for pair in pairs):
        raise ValueError(text)
    return MappingProxyType({collective.strip(): algorithm.strip() for collective, algorithm in pairs})


@dataclass(frozen=True)
class Settings:
    """What the environment says; `pyccl.init()` and `Communicator` arguments override it."""

    timeout: float = _variable(
        "TIMEOUT",
        _seconds,
        "300",
        "a number of seconds above 0",
        "How long an operation waits for its peers before it raises `Timeout`.",
    )
    log: str = _choice(
        "LOG",
        "warning",
        "debug",
        "info",
        "error",
        "critical",
        help_="From which level on messages of the `pyccl` logger are shown.",
    )
    isa: str = _choice(
        "ISA",
        "auto",
        "baseline",
        "x86-64-v3",
        "x86-64-v4",
        help_="The highest instruction set that the kernels may use; `auto` takes the best one that this CPU has.",
    )
    transport: str = _choice(
        "TRANSPORT",
        "auto",
        "shm",
        "mpi",
        help_="How bytes reach ranks of the same node: shared memory, or messages of the MPI library.",
    )
    algorithm: Mapping[str, str] = _variable(
        "ALGORITHM",
        _assignments,
        "auto",
        "auto, or collective=algorithm, several separated by commas",
        "Algorithms to use whatever the tuning table says, for instance `all_reduce=ring,broadcast=binomial`.",
    )
    tuning: Path | None = _variable(
        "TUNING",
        _optional_path,
        "none",
        "none, or the path of a file",
        "A table of thresholds written by `python -m pyccl.bench --tune`, in place of the one that ships.",
    )
    links: Mapping[str, float] = _variable(
        "LINKS",
        _links,
        "equal",
        "equal, or host=rate pairs separated by commas, among them *=rate for all other hosts",
        "Rates of the hosts' network links where they differ, for instance `*=10 Gbit/s,node7=2.5 Gbit/s`.",
    )
    wait: str = _choice(
        "WAIT",
        "auto",
        "spin",
        "yield",
        "block",
        help_="How a rank waits for others: polling, giving up its time slice, or sleeping in the kernel.",
    )
    stall: float = _variable(
        "STALL",
        _seconds,
        "60",
        "a number of seconds above 0",
        "After how long in one wait a warning names the ranks that are waited for.",
    )
    trace: Path | None = _variable(
        "TRACE",
        _optional_path,
        "none",
        "none, or the path of a folder",
        "Where each communicator of each rank writes what it did, for `python -m pyccl.trace`.",
    )
    debug: bool = _variable(
        "DEBUG",
        _switch,
        "0",
        "0 or 1",
        "`1` raises when an array that an asynchronous operation uses is written, or used by another operation.",
    )
    node_size: int | None = _variable(
        "NODE_SIZE",
        _optional_count,
        "auto",
        "auto, or a number of ranks of at least 1",
        "For tests: pretend that a node holds only so many ranks.",
    )


# Read by the build, the tests and the launcher; no settings of the library.
ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        "PYCCL_WERROR": "Build: `1` makes compiler warnings errors.",
        "PYCCL_SANITIZE": "Build: `address,undefined` or `thread` builds an instrumented extension.",
        "PYCCL_JOBS": "Build: how many compilers run at once (default: the cores available).",
        "PYCCL_LAUNCHED": "Set by `python -m pyccl.launch` for its ranks: pyccl ends MPI, unless a rank has died.",
        "PYCCL_TEST_MPI": "Tests: `mpich` or `openmpi`, the MPI that must be found; without it, whichever is there.",
    }
)


def variables() -> dict[str, Variable]:
    """Return the library's variables by the name of their field in `Settings`."""
    return {item.name: item.metadata["variable"] for item in dataclasses.fields(Settings)}


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment.

    Parameters
    ----------
    environ : mapping, default os.environ
        Unknown names that begin with `PYCCL_` are warned about, with the nearest known name.

    Raises
    ------
    ConfigError
        If a variable has a value that is not allowed.

    Examples
    --------
    >>> load({"PYCCL_TIMEOUT": "20"}).timeout
    20.0
    >>> load({"PYCCL_WAIT": "sleep"})
    Traceback (most recent call last):
    pyccl.errors.ConfigError: PYCCL_WAIT must be one of auto, spin, yield, block, got 'sleep'
    """
    environ = os.environ if environ is None else environ
    rows = variables()
    known = [row.name for row in rows.values()] + list(ELSEWHERE)
    for name in environ:
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            warnings.warn(f"{name} is not a variable of pyccl and is ignored; the nearest is {near}", stacklevel=2)
    values: dict[str, Any] = {key: row.value(environ.get(row.name, "")) for key, row in rows.items()}
    return Settings(**values)
