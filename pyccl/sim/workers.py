"""Who is how fast, and when: what tells the workers of a job apart."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyccl import _core
from pyccl.errors import ConfigError
from pyccl.sim.distributions import Distribution, make
from pyccl.sim.quantity import Quantity, parse, positive
from pyccl.sim.settings import unknown

Floats = NDArray[np.float64]

_CALL = re.compile(r"\s*(\w+)\s*\((.*)\)\s*", re.DOTALL)
_MOST_SEED = (1 << 64) - 1


@dataclass(frozen=True)
class Slowness:
    """A worker is slow for a while: a Markov chain of two states, from step to step.

    Attributes
    ----------
    slow : float
        How many times longer a slow worker takes.
    enter, leave : float
        Probability that a fast worker becomes slow, and a slow one fast.
    """

    slow: float = 1.0
    enter: float = 0.0
    leave: float = 1.0

    @property
    def share(self) -> float:
        """Share of all steps in which a worker is slow, in the long run."""
        return self.enter / (self.enter + self.leave) if self.enter else 0.0


@dataclass(frozen=True)
class Availability:
    """A client takes part for a share of each period, which goes up and down with the time of day.

    Attributes
    ----------
    mean, swing : float
        The share at time t is ``mean + swing * sin(2 pi t / period)``.
    period : float
        Seconds.
    """

    mean: float = 1.0
    swing: float = 0.0
    period: float = 86400.0

    def share(self, time: float) -> float:
        """Return the share of all clients that take part at `time`."""
        return self.mean + self.swing * math.sin(2 * math.pi * time / self.period)


@dataclass(frozen=True)
class Draws:
    """What the draws of a job's workers come from.

    Attributes
    ----------
    compute : Distribution
    factors : array of float, shape (size,)
    slowness : Slowness
    base : float
        Seconds of the model's own step, of which a relative distribution gives multiples.
    """

    compute: Distribution
    factors: Floats
    slowness: Slowness
    base: float

    def times(self, steps: int, seed: int, first: int = 0) -> Floats:
        """Return the seconds that each worker computes in `steps` steps from `first` on, shape (size, steps)."""
        if not 0 <= seed <= _MOST_SEED:
            raise ConfigError(f"seed must be in [0, 2^64), got {seed}")
        slow = self.slowness
        size = len(self.factors)
        return _core.sim_draw(
            self.compute.core(self.base), self.factors.tolist(), slow.slow, slow.enter, slow.leave, seed, size, first,
            steps,
        )  # fmt: skip


@dataclass(frozen=True)
class Workers:
    """How fast workers compute, who is slow, and how often they fail.

    Attributes
    ----------
    compute : str or Distribution
        Seconds of a step, or multiples of the model's own time, as `Distribution.parse` reads them; default: constant.
    slow : mapping of int to float
        Ranks that take so many times longer for good.
    slowness : str, optional
        ``"markov(slow=2.0, enter=0.01, leave=0.1)"``: each worker is slow for a while now and then.
    availability : str, optional
        ``"diurnal(mean=0.5, swing=0.4, period=24 h)"``: the share of clients that take part.
    mtbf, node_mtbf, domain_mtbf : float or str, optional
        Mean seconds between failures of a device, a host, and a failure domain.
    domain : int
        Hosts of a failure domain.
    repair : str or Distribution, optional
        Seconds until what has failed is back; default: never.
    preemption : float or str, optional
        Mean seconds until a host is taken away.
    shape : float, default 1
        Of the Weibull distribution of the times between failures: 1 is exponential; below, what has just failed or
        begun fails sooner. Preemptions stay exponential.
    notice : float or str, default 0
        Seconds between the notice of a preemption and the preemption.

    Raises
    ------
    ConfigError
        If a setting is wrong; the message says what to write.

    Examples
    --------
    >>> workers = Workers(compute="lognormal(mean=180 ms, cv=0.15)", slow={1: 2.0})
    >>> workers.times(2, 3, 0.1, seed=1).shape
    (2, 3)
    """

    compute: str | Distribution | None = None
    slow: Mapping[int, float] = field(default_factory=lambda: MappingProxyType({}))
    slowness: str | Slowness | None = None
    availability: str | Availability | None = None
    mtbf: Quantity | None = None
    node_mtbf: Quantity | None = None
    domain_mtbf: Quantity | None = None
    domain: int = 8
    repair: str | Distribution | None = None
    preemption: Quantity | None = None
    shape: float = 1.0
    notice: Quantity = 0.0

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        put("compute", make("constant(1.0)" if self.compute is None else self.compute, "compute"))
        put("slow", MappingProxyType(dict(sorted(_factors(self.slow).items()))))
        if isinstance(self.slowness, str):
            put("slowness", _slowness(self.slowness))
        if isinstance(self.availability, str):
            put("availability", _availability(self.availability))
        for name in ("mtbf", "node_mtbf", "domain_mtbf", "preemption"):
            if getattr(self, name) is not None:
                put(name, positive(getattr(self, name), "time", name))
        put("notice", parse(self.notice, "time", "notice"))
        if isinstance(self.shape, bool) or not isinstance(self.shape, (int, float)) or not 0.1 <= self.shape <= 10:
            raise ConfigError(f"shape must be a number from 0.1 to 10, such as 0.7, got {self.shape!r}")
        if self.notice and self.preemption is None:
            raise ConfigError("notice is that of a preemption; write preemption = '24 h' or the like, too")
        if self.repair is not None:
            put("repair", make(self.repair, "repair"))
        if not isinstance(self.domain, int) or isinstance(self.domain, bool) or self.domain < 1:
            raise ConfigError(f"domain must be a whole number of hosts of at least 1, got {self.domain!r}")

    def columns(self, size: int, base: float) -> Draws:
        """Return what `size` workers draw from, whose model takes `base` seconds a step.

        Raises
        ------
        ConfigError
            If `slow` names a rank that there is not.
        """
        factors = np.ones(size)
        for rank, factor in self.slow.items():
            if rank >= size:
                raise ConfigError(f"slow: rank {rank} is not in [0, {size})")
            factors[rank] = factor
        assert isinstance(self.compute, Distribution)
        slowness = self.slowness if isinstance(self.slowness, Slowness) else Slowness()
        return Draws(self.compute, factors, slowness, base)

    def times(self, size: int, steps: int, base: float, seed: int, first: int = 0) -> Floats:
        """Return the seconds that each worker computes in each step, shape (size, steps).

        A number depends on seed, worker and step alone: neither more workers nor other steps change it.
        """
        return self.columns(size, base).times(steps, seed, first)

    @property
    def alike(self) -> bool:
        """Whether all take the model's own time, always."""
        varied = self.slow or self.slowness is not None or self.availability is not None
        return not varied and self.compute == make("constant(1.0)", "compute")

    @property
    def fails(self) -> bool:
        """Whether anything ever fails or is taken away."""
        return any(x is not None for x in (self.mtbf, self.node_mtbf, self.domain_mtbf, self.preemption))


def _factors(slow: Any) -> dict[int, float]:
    if not isinstance(slow, Mapping):
        raise ConfigError(f"slow must map ranks to factors, such as {{7: 2.0}}, got {slow!r}")
    found: dict[int, float] = {}
    for rank, factor in slow.items():
        number = isinstance(factor, (int, float)) and not isinstance(factor, bool)
        if not isinstance(rank, int) or isinstance(rank, bool) or rank < 0:
            raise ConfigError(f"slow: a rank is a whole number of at least 0, got {rank!r}")
        if not number or not 0 < factor < math.inf:
            raise ConfigError(f"slow: the factor of rank {rank} must be finite and above 0, got {factor!r}")
        found[rank] = float(factor)
    return found


def _call(text: str, what: str, name: str, known: tuple[str, ...]) -> dict[str, str]:
    """Return the arguments of ``name(key=value, …)``."""
    match = _CALL.fullmatch(text)
    if match is None or match[1] != name:
        raise ConfigError(f"{what}: {text!r}; write {name}({', '.join(f'{key}=…' for key in known)})")
    given: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in match[2].split(","))):
        key, _, value = (piece.strip() for piece in part.partition("="))
        if key not in known or key in given:
            raise ConfigError(f"{what}: {key} is given twice" if key in given else unknown(key, known, what))
        given[key] = value
    return given


def _share(what: str, given: Mapping[str, str], key: str, default: float, most: float = 1.0) -> float:
    try:
        value = float(given.get(key, default))
    except ValueError:
        value = math.nan
    if not 0 <= value <= most:
        raise ConfigError(f"{what}: {key} must be a number from 0 to {most:g}, got {given[key]!r}")
    return value


def _slowness(text: str) -> Slowness:
    given = _call(text, "slowness", "markov", ("slow", "enter", "leave"))
    made = Slowness(
        _share("slowness", given, "slow", 2.0, most=1e6), _share("slowness", given, "enter", 0.01),
        _share("slowness", given, "leave", 0.1),
    )  # fmt: skip
    if made.slow < 1 or (made.enter > 0 and made.leave == 0):
        raise ConfigError("slowness: slow must be at least 1, and leave above 0: else all are slow in the end")
    return made


def _availability(text: str) -> Availability:
    given = _call(text, "availability", "diurnal", ("mean", "swing", "period"))
    period = parse(given.get("period", "24 h"), "time", "availability: period")
    made = Availability(_share("availability", given, "mean", 0.5), _share("availability", given, "swing", 0.0), period)
    if period <= 0 or made.mean - made.swing <= 0 or made.mean + made.swing > 1:
        raise ConfigError("availability: mean - swing must be above 0, mean + swing at most 1, and period above 0")
    return made
