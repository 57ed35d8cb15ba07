"""Pictures of results; drawn by matplotlib without a display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyccl.errors import ConfigError
from pyccl.sim.job import CATEGORIES
from pyccl.sim.strategies import text

if TYPE_CHECKING:
    from pyccl.sim.training_result import Result

COLOURS = ("#0b6e99", "#e0a030", "#8a6fb0", "#4f9d69", "#c0504d", "#7f7f7f")
"""One for each of CATEGORIES."""
MOST_BARS = 24


def figure(columns: int, rows: int = 1, *, width: float = 4.6, height: float = 3.2) -> tuple[Any, Any]:
    """Return a figure and its axes, shape (rows, columns).

    Raises
    ------
    ConfigError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("pictures are drawn by matplotlib: pip install 'pyccl-collectives[plot]'") from None
    drawn = Figure(figsize=(width * columns, height * rows), layout="constrained", dpi=130)
    axes = drawn.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    return drawn, axes


def save(drawn: Any, path: str | Path | None) -> Any:
    """Save a figure where a path is given, and return it."""
    if path is not None:
        try:
            drawn.savefig(path)
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from None
    return drawn


def result(found: Result) -> Any:
    """Draw step times, the breakdown, and staleness or the busiest links."""
    panels = 3 + (found.losses is not None)
    drawn, ((steps, parts, last, *rest),) = figure(panels)
    step_times(steps, found)
    breakdown(parts, found)
    if found.staleness is None:
        links(last, found)
    else:
        staleness(last, found.staleness)
    for axis in rest:
        assert found.losses is not None
        losses(axis, {text(found.strategy): found.losses})
    cluster = found.job.cluster
    drawn.suptitle(f"{text(found.strategy)}: {found.job.model.name} on {cluster.size} devices ({cluster.topology})",
                   fontsize=11)  # fmt: skip
    return drawn


def step_times(axis: Any, found: Result) -> None:
    """Draw how step times are distributed, with median and p99."""
    times = found.step_times * 1e3
    if len(times) and np.ptp(times) > 1e-9 * times.max():
        axis.hist(times, bins=min(60, max(10, len(times) // 10)), color=COLOURS[0])
    elif len(times):
        axis.bar([times[0]], [len(times)], width=0.02 * times[0] or 1, color=COLOURS[0])
        axis.set_xlim(0.8 * times[0], 1.2 * times[0] or 1)
    for name in ("median", "p99"):
        axis.axvline(found.step_statistics[name] * 1e3, color="0.3", linestyle={"median": "-", "p99": ":"}[name],
                     linewidth=1, label=f"{name} {found.step_statistics[name] * 1e3:.4g} ms")  # fmt: skip
    axis.set(xlabel="time between updates (ms)", ylabel="updates")
    axis.legend(frameon=False, fontsize=8)


def breakdown(axis: Any, found: Result) -> None:
    """Draw where the time of workers goes, one bar each; of many workers, those evenly spread over the ranks."""
    table = found.run.categories
    if found.run.idle is not None:
        table = table.copy()
        table[:, CATEGORIES.index("straggler")] -= found.run.idle
    spread = np.linspace(0, len(table) - 1, min(len(table), MOST_BARS)).astype(int)
    rows = np.union1d(spread, [table[:, 0].argmax()])  # he who computes longest is what others wait for
    bars(axis, [str(row) for row in rows], table[rows] / (found.makespan or 1) * 100)
    axis.set(xlabel="worker", ylabel="share of the time (%)")


def bars(axis: Any, names: Sequence[str], table: Any) -> None:
    """Draw a bar for each row of `table`, shape (rows, 6), stacked by category."""
    bottom = np.zeros(len(names))
    for i, (category, colour) in enumerate(zip(CATEGORIES, COLOURS, strict=True)):
        if table[:, i].any():
            axis.bar(range(len(names)), table[:, i], bottom=bottom, color=colour, label=category, width=0.8)
            bottom += table[:, i]
    every = max(1, len(names) // 12)
    axis.set_xticks(range(0, len(names), every), names[::every])
    axis.legend(frameon=False, fontsize=7, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def staleness(axis: Any, counts: Any) -> None:
    """Draw how stale the gradients were."""
    axis.bar(range(len(counts)), np.asarray(counts) / max(1, np.sum(counts)) * 100, color=COLOURS[2])
    axis.set(xlabel="staleness (versions)", ylabel="gradients (%)")


def links(axis: Any, found: Result, most: int = 8) -> None:
    """Draw the busiest links."""
    busiest = found.links(most)[::-1]
    axis.barh([link.name for link in busiest], [link.utilisation * 100 for link in busiest], color=COLOURS[3])
    axis.tick_params(axis="y", labelsize=7)
    axis.set(xlabel="busiest links, use (%)")


def losses(axis: Any, curves: dict[str, Any]) -> None:
    """Draw losses against simulated time."""
    for (name, curve), colour in zip(curves.items(), COLOURS * 4, strict=False):
        axis.plot(curve.time, curve.loss, label=name, color=colour, linewidth=1.4)
    axis.set(xlabel="simulated time (s)", ylabel="loss")
    axis.legend(frameon=False, fontsize=8)


def comparison(found: Sequence[tuple[str, Result]]) -> Any:
    """Draw several results side by side: throughput, and where the time goes."""
    drawn, ((rates, parts),) = figure(2, width=max(4.6, 0.6 * len(found)), height=3.8)
    names = [name for name, _ in found]
    rates.bar(names, [one.throughput for _, one in found], color=COLOURS[0])
    rates.set(ylabel="samples/s")
    table = np.array([[one.breakdown[name] / (one.makespan or 1) * 100 for name in CATEGORIES] for _, one in found])
    bars(parts, names, table)
    parts.set(ylabel="share of the time (%)")
    for axis in (rates, parts):
        axis.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
    return drawn
