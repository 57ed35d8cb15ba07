"""Embedding tables, and how many different rows a batch touches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyccl.errors import ConfigError

_EXACT = 1 << 12  # rows that are summed one by one; the rest by quadrature
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


@dataclass(frozen=True)
class Embedding:
    """Equal tables of rows, of which each sample looks up a few, the r-th most popular with weight ``r ** -zipf``.

    Attributes
    ----------
    rows, dim : int
        Shape of a table.
    ids : int
        Rows that a sample looks up in a table; they are summed into one vector.
    zipf : float
        0: all rows alike. Recommendation data are near 1 (L. Adamic, B. Huberman, "Zipf's law and the
        Internet", Glottometrics 3 (2002)).
    tables : int

    Examples
    --------
    >>> Embedding(rows=1000, dim=16, ids=1, zipf=0.0).distinct(1000)
    632.304...
    """

    rows: int
    dim: int
    ids: int = 1
    zipf: float = 1.05
    tables: int = 1

    def __post_init__(self) -> None:
        for key in ("rows", "dim", "ids", "tables"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"embedding: {key} must be a whole number of at least 1, got {value!r}")
        if not 0 <= self.zipf <= 8:
            raise ConfigError(f"embedding: zipf must be from 0 to 8, got {self.zipf!r}")

    @property
    def parameters(self) -> int:
        """Elements of all tables."""
        return self.tables * self.rows * self.dim

    def distinct(self, samples: float) -> float:
        """Return how many different rows of a table `samples` samples touch on average.

        With n independent draws row r is missed with probability ``(1 - p_r) ** n``. The sum over the rows is exact for
        the first 4096 and an integral for the others, to about 1e-9.
        """
        draws = samples * self.ids
        if draws <= 0:
            return 0.0
        rank, weight = _ranks(self.rows)
        popularity = rank**-self.zipf
        popularity /= weight @ popularity
        with np.errstate(divide="ignore"):
            missed = draws * np.log1p(-np.minimum(popularity, 1.0))
        return float(weight @ -np.expm1(missed))

    def sparse_bytes(self, samples: float, itemsize: int = 4) -> float:
        """Return the bytes of the rows that `samples` samples touch: what a worker pulls, or pushes, of all tables."""
        return self.tables * self.distinct(samples) * self.dim * itemsize

    def pooled_bytes(self, samples: float, itemsize: int = 4) -> float:
        """Return the bytes of the vectors that `samples` samples look up, summed by table."""
        return self.tables * samples * self.dim * itemsize

    def id_bytes(self, samples: float) -> float:
        """Return the bytes of the ids of `samples` samples, 8 each."""
        return 8.0 * self.tables * samples * self.ids


def _ranks(rows: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points and weights such that ``weights @ f(points)`` is the sum of a smooth f over 1, ..., rows."""
    exact = np.arange(1.0, min(rows, _EXACT) + 1)
    if rows <= _EXACT:
        return exact, np.ones_like(exact)
    octaves = int(np.ceil(np.log2(rows / _EXACT)))
    edges = np.geomspace(_EXACT + 0.5, rows + 0.5, octaves + 1)
    half, middle = np.diff(edges)[:, None] / 2, (edges[1:] + edges[:-1])[:, None] / 2
    points, weights = (middle + half * _NODES).ravel(), (half * _WEIGHTS).ravel()
    return np.concatenate([exact, points]), np.concatenate([np.ones_like(exact), weights])
