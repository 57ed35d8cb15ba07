"""What `python -m pyccl.bench --calibrate` has measured, as links of a cluster and as times of collectives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from pyccl.cost import Hockney, predict
from pyccl.errors import ConfigError
from pyccl.sim.cluster import Cluster
from pyccl.sim.efficiency import Efficiency
from pyccl.sim.settings import SettingError, line_of
from pyccl.sim.settings import load as load_section

COLUMNS = ("collective", "ranks", "bytes", "median_s", "p99_s")
MAX_ROWS = 1 << 16
_DIRECT = MappingProxyType(
    {"all_reduce": "two_shot", "reduce_scatter": "direct", "all_gather": "direct", "broadcast": "direct",
     "all_to_all": "direct"}
)  # fmt: skip


class Observed(NamedTuple):
    """A collective of `nbytes` bytes on `ranks` ranks of one machine: seconds."""

    collective: str
    ranks: int
    nbytes: int
    median: float
    p99: float


@dataclass(frozen=True)
class Transport:
    """alpha (s), beta and gamma (s/byte) of one transport, and at which sizes how far from that line it was."""

    network: Hockney
    efficiency: Efficiency

    def seconds(self, nbytes: float) -> float:
        """Return the time of one message."""
        return (self.network.alpha + self.network.beta * nbytes) / self.efficiency.at(nbytes)


@dataclass(frozen=True)
class Calibration:
    """A machine as it was measured.

    Attributes
    ----------
    cores : int
    transports : mapping of str to Transport
        "shm" between ranks of a node, "mpi" between nodes or MPI's own on one node.
    observed : tuple of Observed
        pyccl's collectives on this machine.
    """

    cores: int
    transports: Mapping[str, Transport]
    observed: tuple[Observed, ...]

    def restricted(self, keep: Callable[[Observed], bool]) -> Calibration:
        """Return the calibration without the observations that `keep` refuses."""
        return Calibration(self.cores, self.transports, tuple(filter(keep, self.observed)))

    def cluster(self, hosts: int, transport: str = "mpi", nbytes: float | None = None) -> Cluster:
        """Return hosts on a switch whose links are this transport's.

        Parameters
        ----------
        hosts : int
        transport : str
        nbytes : float, optional
            Of one message: the rate is then what messages of this size reach.
        """
        if transport not in self.transports:
            raise ConfigError(f"no transport {transport!r} was calibrated; there are {', '.join(self.transports)}")
        found = self.transports[transport]
        alpha, beta = found.network.alpha, max(found.network.beta, 1e-15)
        if nbytes is not None:
            alpha, beta = alpha / found.efficiency.at(nbytes), beta / found.efficiency.at(nbytes)
        return Cluster.switch(hosts=hosts, nic=1 / beta, latency=alpha / 2)

    @cached_property
    def _tables(self) -> dict[tuple[str, int], tuple[Sequence[float], Sequence[float]]]:
        grouped: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for row in self.observed:
            grouped.setdefault((row.collective, row.ranks), []).append((math.log(row.nbytes), math.log(row.median)))
        return {key: tuple(zip(*sorted(rows), strict=True)) for key, rows in grouped.items()}  # type: ignore[misc]

    def seconds(self, collective: str, ranks: int, nbytes: int) -> float:
        """Return the predicted time of pyccl's collective on this machine.

        Between measured sizes the logarithms are interpolated. More ranks than were measured are derived from the
        largest measured number p0. The part that does not depend on size is of meetings: the last of p ranks wakes
        p - 1, and those beyond the cores need a core to switch to them, which costs about as much. The part that does
        moves (p - 1)/p of the bytes for each rank; ranks beyond the cores wait for them; and all vectors together fill
        the caches as p/p0 times larger ones did with p0 ranks.

        Parameters
        ----------
        collective : str
        ranks : int
        nbytes : int
            Of the large side.

        Raises
        ------
        ConfigError
            If the collective was not measured, or only with more ranks.
        """
        measured = [p for kind, p in self._tables if kind == collective and p <= ranks]
        if not measured:
            raise ConfigError(f"{collective} on {ranks} ranks or fewer was not calibrated")
        nearest = max(measured)
        if nearest == ranks:
            return self._at(collective, ranks, nbytes)
        wakes = self._wakes(ranks) / self._wakes(nearest)
        moved = self._share(ranks) / self._share(nearest)
        meeting = self._at(collective, nearest, 1)
        grown = self._at(collective, nearest, nbytes * ranks / nearest)
        return meeting * wakes + max(grown - meeting, 0.0) * nearest / ranks * moved

    def _wakes(self, ranks: int) -> int:
        return ranks - 1 + max(0, ranks - self.cores)

    def _share(self, ranks: int) -> float:
        return (ranks - 1) / ranks * max(1.0, ranks / self.cores)

    def _at(self, collective: str, ranks: int, nbytes: float) -> float:
        """Interpolate; below the smallest size as there, beyond the largest in proportion to the last two."""
        sizes, times = self._tables[collective, ranks]
        x = math.log(nbytes)
        if x > sizes[-1] and len(sizes) > 1:
            slope = (times[-1] - times[-2]) / (sizes[-1] - sizes[-2])
            return math.exp(times[-1] + max(slope, 0.0) * (x - sizes[-1]))
        return math.exp(float(np.interp(x, sizes, times)))

    def closed_form(self, collective: str, ranks: int, nbytes: int) -> float:
        """Return what alpha and beta of messages alone would give: every rank on a link of its own."""
        return predict(collective, _DIRECT[collective], ranks, nbytes, self.transports["shm"].network)


def fit_network(
    collective: str, algorithm: str, ranks: int, sizes: Sequence[float], seconds: Sequence[float]
) -> Hockney:
    """Return the alpha and beta, both at least 0, with which the closed form comes nearest, in relative terms.

    Where alpha would be below 0 it is 0, and beta that of the largest size: a link that lets a burst pass before it
    holds its rate says nothing of the rate on short messages.

    Parameters
    ----------
    collective, algorithm : str
        One with a closed form in `pyccl.cost`.
    ranks : int
    sizes, seconds : sequence of float, shape (n,), n >= 2

    Examples
    --------
    >>> fit_network("all_reduce", "ring", 2, [1e6, 4e6], [0.11, 0.41])
    Hockney(alpha=0.005, beta=1e-07, gamma=0.0)
    """
    if len(sizes) != len(seconds) or len(set(sizes)) < 2 or min(seconds) <= 0:
        raise ConfigError("alpha and beta need two different sizes with times above 0")
    times = np.array(seconds, dtype=float)
    columns = [np.array([predict(collective, algorithm, ranks, n, unit) for n in sizes]) / times
               for unit in (Hockney(1.0, 0.0), Hockney(0.0, 1.0))]  # fmt: skip
    both = np.linalg.lstsq(np.stack(columns, axis=1), np.ones(len(times)), rcond=None)[0]
    if both[0] < 0:
        both = np.array([0.0, 1 / columns[1][int(np.argmax(sizes))]])
    elif both[1] < 0:
        both = np.array([columns[0].sum() / (columns[0] ** 2).sum(), 0.0])
    return Hockney(*(float(f"{value:.12g}") for value in both))


def load(path: str | Path) -> Calibration:
    """Read a calibration file.

    Raises
    ------
    ConfigError
        With file, line and what to write instead.
    """
    where = Path(path)
    transports, text = load_section(where, "transport")
    document = _whole(where)
    try:
        cores = document.get("environment", {}).get("cores") if isinstance(document.get("environment"), dict) else None
        if not isinstance(cores, int) or isinstance(cores, bool) or not 0 < cores < 1 << 20:
            raise SettingError("cores", f"environment.cores must be a whole number of at least 1, got {cores!r}")
        found = {name: _transport(name, section) for name, section in transports.items()}
        return Calibration(cores, MappingProxyType(found), _observations(document.get("observed")))
    except SettingError as error:
        raise ConfigError(f"{path}:{line_of(text, error.key)}: {error}") from None


def _whole(path: Path) -> dict[str, Any]:
    return {key: load_section(path, key)[0] for key in ("environment", "observed") if _has(path, key)}


def _has(path: Path, section: str) -> bool:
    return f"[{section}]" in path.read_text(encoding="utf-8")


def _transport(name: str, section: Any) -> Transport:
    if not isinstance(section, Mapping):
        raise SettingError(name, f"transport.{name} must be a section")
    constants = [_number(section.get(key), key) for key in ("alpha", "beta", "gamma")]
    rows = section.get("efficiency")
    listed = isinstance(rows, list) and 0 < len(rows) <= MAX_ROWS
    if not isinstance(rows, list) or not listed or not all(isinstance(r, list) and len(r) == 3 for r in rows):
        raise SettingError("efficiency", "efficiency must be a list of [bytes, seconds, fraction]")
    sizes = tuple(_count(row[0], "efficiency", 1) for row in rows)
    shares = tuple(_number(row[2], "efficiency") for row in rows)
    try:
        return Transport(Hockney(*constants), Efficiency(sizes, shares))
    except ConfigError as error:
        raise SettingError("efficiency", str(error)) from None


def _observations(section: Any) -> tuple[Observed, ...]:
    if section is None:
        return ()
    if section.get("columns") != list(COLUMNS):
        raise SettingError("columns", f"observed.columns must be {list(COLUMNS)}")
    rows = section.get("rows")
    if not isinstance(rows, list) or len(rows) > MAX_ROWS:
        raise SettingError("rows", f"observed.rows must be a list of at most {MAX_ROWS} rows")
    found = []
    for row in rows:
        if not isinstance(row, list) or len(row) != len(COLUMNS) or str(row[0]) not in _DIRECT:
            raise SettingError("rows", f"a row is [{', '.join(COLUMNS)}] of one of {', '.join(_DIRECT)}, got {row!r}")
        times = [_number(value, "rows") for value in row[3:]]
        if not all(times):
            raise SettingError("rows", f"a time must be above 0, got {row!r}")
        found.append(Observed(row[0], _count(row[1], "rows", 2), _count(row[2], "rows", 1), *times))
    return tuple(found)


def _count(value: Any, key: str, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 1 << 62:
        raise SettingError(key, f"{key}: expected a whole number of at least {least}, got {value!r}")
    return value


def _number(value: Any, key: str) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e12
    if not good:
        raise SettingError(key, f"{key} must be a finite number of at least 0, got {value!r}")
    return float(value)
