"""Which algorithm serves which size: a table of thresholds, shipped, measured with the benchmark, or given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyccl.algorithms import algorithms
from pyccl.collectives import COLLECTIVES
from pyccl.errors import ConfigError

__all__ = ["Tuning"]

Rows = tuple[tuple[int, str], ...]
UNLIMITED = 2**62
SITUATIONS = ("thresholds", "two_ranks", "registered", "several_nodes")


@dataclass(frozen=True)
class Tuning:
    """Thresholds per situation and collective.

    Attributes
    ----------
    thresholds : mapping of str to rows
        One node, private arrays. A row is (largest size in bytes of the large side, algorithm); ascending, and the
        last one serves everything beyond.
    two_ranks : mapping of str to rows
        What differs from `thresholds` when there are two of them.
    registered : mapping of str to rows
        One node, arrays from `comm.empty()`.
    several_nodes : mapping of str to rows
    source : str
        Where the table comes from.
    """

    thresholds: Mapping[str, Rows]
    two_ranks: Mapping[str, Rows]
    registered: Mapping[str, Rows]
    several_nodes: Mapping[str, Rows]
    source: str

    @classmethod
    def load(cls, path: Path | None = None) -> Tuning:
        """Read the table in `path`; what it does not name comes from the one that ships.

        Raises
        ------
        ConfigError
            If the file cannot be read or has anything that a table must not have.
        """
        shipped = Path(__file__).with_name("tuning.json")
        tables = _parse(shipped)
        if path is not None:
            given = _parse(path)
            tables = {key: {**tables[key], **given[key]} for key in SITUATIONS}
        return cls(**tables, source=str(path) if path else "the table that ships")

    def private(self, size: int, *, several_nodes: bool) -> Mapping[str, Rows]:
        """Return the thresholds for private arrays of `size` ranks."""
        if several_nodes:
            return self.several_nodes
        return {**self.thresholds, **self.two_ranks} if size == 2 else self.thresholds


def _parse(path: Path) -> dict[str, dict[str, Rows]]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"tuning table {path}: {error}") from error
    if not isinstance(data, dict) or data.get("version") != 1:
        raise ConfigError(f'tuning table {path}: expected an object with "version": 1')
    return {key: _situation(path, key, data.get(key, {})) for key in SITUATIONS}


def _situation(path: Path, key: str, data: Any) -> dict[str, Rows]:
    if not isinstance(data, dict):
        raise ConfigError(f"tuning table {path}: {key} must be an object")
    out = {}
    for name, rows in data.items():
        if name not in COLLECTIVES:
            raise ConfigError(f"tuning table {path}: {key} names an unknown collective {name!r}")
        out[name] = _rows(f"tuning table {path}: {key}.{name}", name, rows)
    return out


def _rows(where: str, collective: str, rows: Any) -> Rows:
    good = isinstance(rows, list) and rows and all(isinstance(row, list) and len(row) == 2 for row in rows)
    if not good:
        raise ConfigError(f"{where}: expected a list of [max_bytes, algorithm]")
    out: list[tuple[int, str]] = []
    for limit, algorithm in rows:
        limit = UNLIMITED if limit is None else limit
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0 or not isinstance(algorithm, str):
            raise ConfigError(f"{where}: expected [max_bytes, algorithm], got {[limit, algorithm]}")
        known = algorithms(collective)
        if algorithm not in known:
            raise ConfigError(f"{where}: {collective} has no algorithm {algorithm!r}, but {', '.join(known)}")
        if out and limit <= out[-1][0]:
            raise ConfigError(f"{where}: sizes must ascend, got {limit} after {out[-1][0]}")
        out.append((min(limit, UNLIMITED), algorithm))
    return tuple(out)
