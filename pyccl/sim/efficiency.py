"""How much of a link's rate messages of a size reach, as measured elsewhere, and a cluster slowed down by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyccl.collectives import collective as row_of
from pyccl.errors import ConfigError
from pyccl.sim.cluster import Cluster
from pyccl.sim.formats.nccl_tests import Measured, read, read_ratios
from pyccl.sim.quantity import Quantity, positive

SMALLEST = 1e-9


@dataclass(frozen=True)
class Efficiency:
    """Fraction of the peak rate by size, between sizes along the logarithms, beyond them as at the last.

    Examples
    --------
    >>> half = Efficiency((1024, 4096), (0.25, 1.0))
    >>> round(half.at(2048), 9), half.at(1 << 30)
    (0.5, 1.0)
    """

    sizes: tuple[int, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        ascend = all(a < b for a, b in zip(self.sizes, self.sizes[1:], strict=False))
        if not self.sizes or len(self.sizes) != len(self.shares) or not ascend or self.sizes[0] < 1:
            raise ConfigError("efficiency needs ascending sizes of at least 1 byte, each with a fraction")
        if not all(0 < share < np.inf for share in self.shares):
            raise ConfigError(f"a fraction of the peak must be above 0, got {min(self.shares)}")

    def at(self, nbytes: float) -> float:
        """Return the fraction at `nbytes`."""
        x = np.log(max(nbytes, 1))
        return float(np.exp(np.interp(x, np.log(self.sizes), np.log(self.shares))))

    def cluster(self, cluster: Cluster, nbytes: float) -> Cluster:
        """Return `cluster` as a collective of `nbytes` finds it: its interfaces' rates times the fraction."""
        share, settings = self.at(nbytes), dict(cluster.settings)
        if "nic" in settings:
            settings["nic"] *= share
        if "nodes" in settings:
            settings["nodes"] = [{**row, **({"nic": row["nic"] * share} if "nic" in row else {})}
                                 for row in settings["nodes"]]  # fmt: skip
        return Cluster(cluster.topology, **settings)


def from_nccl_tests(path: str | Path, peak: Quantity, collective: str | None = None) -> Efficiency:
    """Return what nccl-tests measured, as fractions of `peak`, the bus bandwidth that is never reached.

    Raises
    ------
    ConfigError
        If the file is wrong or has no time above 0.
    """
    rate = positive(peak, "rate", "peak")
    best: dict[int, float] = {}
    for row in read(path, collective):
        if row.nbytes > 0 and (found := _busbw(row)) > 0:
            best[row.nbytes] = max(best.get(row.nbytes, 0.0), found / rate)
    if not best:
        raise ConfigError(f"{path}: no row has bytes and a bandwidth above 0")
    return _of(sorted(best.items()))


def _busbw(row: Measured) -> float:
    """Return the bus bandwidth: printed with two digits after the point, it says nothing of short messages."""
    if row.ranks > 1 and row.time > 0:
        return row.nbytes / row.time * row_of(row.collective).busbw_factor(row.ranks)
    return row.busbw


def from_ratios(path: str | Path, column: str) -> Efficiency:
    """Return one column of a SimAI ratio table.

    Raises
    ------
    ConfigError
        If the file is wrong, or has no such column or nothing in it.
    """
    table = read_ratios(path)
    if column not in table.columns:
        raise ConfigError(f"{path}: no column {column!r}; it has {', '.join(table.columns)}")
    j = table.columns.index(column)
    rows = [(n, max(row[j], SMALLEST)) for n, row in zip(table.sizes, table.values, strict=True)  # type: ignore[type-var]
            if row[j] is not None and n > 0]  # fmt: skip
    if not rows:
        raise ConfigError(f"{path}: column {column!r} is empty")
    return _of(rows)  # type: ignore[arg-type]


def _of(rows: Sequence[tuple[int, float]]) -> Efficiency:
    return Efficiency(tuple(n for n, _ in rows), tuple(share for _, share in rows))
