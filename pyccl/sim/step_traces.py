"""Measured data-parallel training steps: `placements.csv` and `scalability.csv` as Pollux published them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyccl.sim.formats.source import Source, show

Floats = NDArray[np.float64]

PLACEMENTS = ("placement", "local_bsz", "step_time", "sync_time")
SCALABILITY = ("num_nodes", "num_replicas", "local_bsz", "step_time", "sync_time")
MAX_ROWS = 1 << 20
MAX_DEVICES = 1 << 20
MAX_SECONDS = 1e6
MAX_DIGITS = 100


@dataclass(frozen=True, eq=False)
class Steps:
    """Measured steps as columns, each of shape (rows,).

    Attributes
    ----------
    nodes, devices, widest : array of float
        Hosts, devices on all of them, devices on the host that has most.
    batch : array of float
        Samples of one device and step.
    step, sync : array of float
        Seconds of a step, and of them those in which a device waited for gradients.
    place : array of int
        Rows with equal numbers were measured on the same devices.
    """

    nodes: Floats
    devices: Floats
    widest: Floats
    batch: Floats
    step: Floats
    sync: Floats
    place: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.step)

    def where(self, mask: NDArray[np.bool_]) -> Steps:
        """Return the rows that `mask` names."""
        return Steps(*(column[mask] for column in vars(self).values()))


def read_placements(path: str | Path) -> Steps:
    """Read a table whose `placement` has a digit per node, the devices used on it.

    Raises
    ------
    ConfigError
        If a column is missing or a value is wrong, with file and line.
    """
    return _read(Path(path), PLACEMENTS)


def read_scalability(path: str | Path) -> Steps:
    """Read a table with `num_nodes` and `num_replicas`, devices that are spread over the nodes as evenly as can be.

    Raises
    ------
    ConfigError
        As `read_placements`.
    """
    return _read(Path(path), SCALABILITY)


def _read(path: Path, wanted: tuple[str, ...]) -> Steps:
    rows: list[tuple[float, ...]] = []
    places: dict[object, int] = {}
    order: list[int] | None = None
    with Source(path) as source:
        for number, raw in source.lines():
            cells = [cell.strip() for cell in raw.decode("utf-8", "replace").split(",")]
            if not any(cells):
                continue
            if order is None:
                missing = [name for name in wanted if name not in cells]
                if missing:
                    raise source.error(f"no column {', '.join(missing)}; expected {','.join(wanted)}", line=number)
                width, order = len(cells), [cells.index(name) for name in wanted]
                continue
            if len(cells) != width:
                raise source.error(f"expected {width} columns, got {len(cells)}: the file may be cut off", line=number)
            picked = [cells[i] for i in order]
            try:
                key, *values = _row(picked)
            except ValueError as error:
                raise source.error(str(error), line=number) from None
            rows.append((*values, places.setdefault(key, len(places))))  # type: ignore[arg-type]
            if len(rows) > MAX_ROWS:
                raise source.error(f"more than {MAX_ROWS} rows", line=number)
        if not rows:
            raise source.error(f"has no rows; expected {','.join(wanted)} and measurements")
    columns = np.array(rows, dtype=float).T
    nodes, devices, widest, batch, step, sync, place = columns
    return Steps(nodes, devices, widest, batch, step, sync, place.astype(np.int64))


def _row(cells: list[str]) -> tuple[object, ...]:
    """Return a key of the placement, then nodes, devices, widest, batch, step and sync."""
    if len(cells) == len(PLACEMENTS):
        text = cells[0]
        if not (text.isascii() and text.isdigit()) or "0" in text or len(text) > 1000:
            raise ValueError(f"placement must be a digit from 1 to 9 per node, got {show(text)}")
        digits = [int(digit) for digit in text]
        key: object = text
    else:
        nodes, replicas = (_count(cell, name) for cell, name in zip(cells[:2], SCALABILITY[:2], strict=True))
        if replicas < nodes:
            raise ValueError(f"num_replicas must be at least num_nodes, got {replicas} on {nodes}")
        digits = [-(-replicas // nodes)]
        key = (nodes, replicas)
    batch, step, sync = (_number(cell, name) for cell, name in zip(cells[-3:], PLACEMENTS[1:], strict=True))
    if batch <= 0 or step <= 0:
        raise ValueError(f"local_bsz and step_time must be above 0, got {batch:g} and {step:g}")
    hosts, devices = (len(digits), sum(digits)) if isinstance(key, str) else (nodes, replicas)
    return key, float(hosts), float(devices), float(max(digits)), batch, step, sync


def _count(cell: str, name: str) -> int:
    if not (cell.isascii() and cell.isdigit() and len(cell) < 8) or not 0 < int(cell) <= MAX_DEVICES:
        raise ValueError(f"{name} must be a whole number from 1 to {MAX_DEVICES}, got {show(cell)}")
    return int(cell)


def _number(cell: str, name: str) -> float:
    try:
        value = float(cell[:MAX_DIGITS])
    except ValueError:
        raise ValueError(f"{name} must be a number, got {show(cell)}") from None
    if not (len(cell) <= MAX_DIGITS and 0 <= value <= MAX_SECONDS):
        raise ValueError(f"{name} must be a number from 0 to {MAX_SECONDS:g}, got {show(cell)}")
    return value
