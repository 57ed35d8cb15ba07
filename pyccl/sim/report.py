"""Results as JSON, CSV, Parquet and tables."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyccl.errors import ConfigError
from pyccl.sim.strategies import text

if TYPE_CHECKING:
    from pyccl.sim.training_result import Result

Columns = Mapping[str, Sequence[Any] | np.ndarray[Any, Any]]


def to_dict(result: Result) -> dict[str, Any]:
    """Return a result as JSON has it; keys are stable and carry their unit."""
    run, job = result.run, result.job
    return {
        "format": "pyccl.sim.result", "version": 1,
        "strategy": text(result.strategy), "model": job.model.name,
        "cluster": {"topology": job.cluster.topology, "hosts": job.cluster.hosts, "devices": job.cluster.size},
        "workers": result.workers, "steps": job.steps, "seed": job.seed,
        "makespan_s": run.makespan, "updates": run.updates, "samples": run.samples, "dropped": run.dropped,
        "step_time_s": result.step_statistics, "tail_s": result.tail, "throughput_samples_per_s": result.throughput,
        "efficiency": result.efficiency, "utilisation": result.utilisation, "goodput": result.goodput,
        "breakdown_s": result.breakdown, "staleness": _staleness(result),
        "links": [
            {"name": link.name, "bytes": link.nbytes, "utilisation": link.utilisation} for link in result.links()
        ],
        "link_bytes": float(run.link_bytes.sum()), "memory_bytes": result.memory,
        "device_memory_bytes": result.device_memory, "fits": result.fits,
        "cost_usd": result.cost if result.priced else None, "energy_j": result.energy,
        "loss": None if result.losses is None else result.losses.to_dict(),
        "advice": result.advice, "notes": list(run.notes),
    }  # fmt: skip


def _staleness(result: Result) -> dict[str, Any] | None:
    counts = result.staleness
    return None if counts is None else {"mean": result.mean_staleness, "histogram": np.asarray(counts).tolist()}


def finite(value: Any) -> Any:
    """Return `value` without infinities and NaN, which JSON does not have: they become null."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON."""
    Path(path).write_text(json.dumps(finite(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")


# --- columns


def step_columns(result: Result) -> Columns:
    """Return a row per version of the model."""
    ends = np.sort(result.run.step_ends)
    return {"step": np.arange(len(ends)), "end_s": ends, "seconds": result.step_times}


def write_csv(path: str | Path, columns: Columns) -> None:
    """Write columns of equal length, with their names in the first line."""
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(_plain(column) for column in columns.values()), strict=True))


def write_parquet(path: str | Path, columns: Columns) -> None:
    """Write columns as Parquet.

    Raises
    ------
    ConfigError
        If pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ConfigError("Parquet is written by pyarrow: pip install 'pyccl-collectives[parquet]'") from None
    table = pyarrow.table({name: _plain(column) for name, column in columns.items()})
    pyarrow.parquet.write_table(table, path)


def _plain(column: Sequence[Any] | np.ndarray[Any, Any]) -> list[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else list(column)


# --- text

_UNITS = ((1e-6, "us", 1e-3), (1e-3, "ms", 1), (1, "s", 120), (60, "min", 7200), (3600, "h", 172800))


def seconds(value: float) -> str:
    """Return a time as a person reads it.

    Examples
    --------
    >>> seconds(0.0123), seconds(7200), seconds(86400 * 54)
    ('12.3 ms', '2 h', '54 d')
    """
    if not math.isfinite(value):
        return "never"
    if abs(value) < 1e-12:
        return "0 s"
    for factor, unit, below in _UNITS:
        if abs(value) < below:
            return f"{value / factor:.3g} {unit}"
    return f"{value / 86400:.3g} d"


def scaled(value: float, unit: str) -> str:
    """Return a number with a decimal prefix.

    Examples
    --------
    >>> scaled(25e9, "B"), scaled(3.5, "samples/s"), scaled(7.2e6, "J")
    ('25 GB', '3.5 samples/s', '7.2 MJ')
    """
    if not math.isfinite(value):
        return "-"
    power = min(5, max(0, math.floor(math.log10(abs(value)) / 3))) if value else 0
    return f"{value / 1000**power:.3g} {('', 'k', 'M', 'G', 'T', 'P')[power]}{unit}"


def too_little(result: Result) -> str:
    """Return what to say where a device has less memory than it needs, else nothing."""
    need, have = scaled(result.memory, "B"), scaled(result.device_memory, "B")
    return "" if result.fits else f"needs {need} on each device, which has {have}: it does not fit"


def summary(result: Result) -> list[tuple[str, str]]:
    """Return what a table of one result says, as pairs of a name and a text."""
    times, run = result.step_statistics, result.run
    rows = [
        ("makespan", f"{seconds(result.makespan)}, {run.updates} updates, {scaled(run.samples, 'samples')}"),
        ("step", ", ".join(f"{seconds(times[name])} {name}" for name in ("mean", "median", "p90", "p99"))),
        ("throughput", f"{result.throughput:.5g} samples/s"),
        ("efficiency", f"{result.efficiency:.1%} of one device alone, times {result.workers}"),
        ("utilisation", f"{result.utilisation:.1%}"),
        ("goodput", f"{result.goodput:.2%} of the time"),
    ]
    if result.tail > 1e-9 * result.makespan:
        rows.insert(2, ("last pulls", f"{seconds(result.tail)} after the last update"))
    if result.staleness is not None:
        rows.append(("staleness", f"{result.mean_staleness:.3g} versions on the mean"))
    if run.dropped:
        rows.append(("dropped", f"{run.dropped} gradients"))
    if result.memory:
        rows.append(
            ("memory", f"{scaled(result.memory, 'B')} on each device{'' if result.fits else ', more than it has'}")
        )
    rows.append(("cost", f"{result.cost:.2f} USD" if result.priced else "no prices given: write price in [cluster]"))
    if result.energy:
        rows.append(("energy", f"{result.energy / 3.6e6:.4g} kWh"))
    return rows
