"""`--plot`: latency and bus bandwidth against size, pyccl and the launcher's MPI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .table import label
from .units import format_size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .report import Row

OURS, THEIRS = "#0b6e99", "#c0504d"


def write_plot(path: Path, rows: Sequence[Row], environment: dict[str, Any]) -> None:
    """Draw two panels for every group of rows that has more than one size and save them."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.bytes and row.model is None:
            groups.setdefault((row.collective, row.algorithm, row.dtype, row.op), []).append(row)
    if not groups:
        raise ValueError("nothing to plot: --plot needs rows of different sizes, not a model or the barrier alone")
    pairs = 2 if len(groups) > 1 else 1
    height = -(-len(groups) // pairs)
    style: Any = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left"}
    with plt.rc_context(style):
        figure, axes = plt.subplots(
            height, 2 * pairs, figsize=(6.2 * pairs, 2.5 * height + 0.9), squeeze=False, layout="constrained"
        )
        cells = axes.reshape(-1, 2)
        for (latency, bandwidth), (key, group) in zip(cells, groups.items(), strict=False):
            _draw(latency, bandwidth, label(key), sorted(group, key=lambda row: row.bytes), environment["mpi_library"])
        for unused in cells[len(groups) :].flat:
            unused.set_axis_off()
        figure.suptitle(
            f"pyccl {environment['pyccl']} and {environment['mpi_library']}: {environment['ranks']} ranks on "
            f"{environment['nodes']} node(s), {environment['cpu']}, {environment['cores']} cores",
            fontsize=10,
        )
        figure.savefig(path, dpi=130)
        plt.close(figure)


def _draw(latency: Any, bandwidth: Any, name: str, group: Sequence[Row], mpi_library: str) -> None:
    sizes = [row.bytes for row in group]
    compared = [row for row in group if row.baseline_s is not None]
    others = [row.bytes for row in compared]
    tails = [row.p99_s * 1e6 for row in group]
    latency.fill_between(sizes, [row.time_s * 1e6 for row in group], tails, color=OURS, alpha=0.15, linewidth=0)
    for axis, ours, theirs in (
        (latency, [row.time_s * 1e6 for row in group], [row.baseline_s * 1e6 for row in compared if row.baseline_s]),
        (bandwidth, [row.busbw / 1e9 for row in group], [(row.baseline_busbw or 0.0) / 1e9 for row in compared]),
    ):
        axis.plot(sizes, ours, color=OURS, marker="o", markersize=3.5, linewidth=1.6, label="pyccl")
        if compared:
            axis.plot(others, theirs, color=THEIRS, marker="s", markersize=3, linewidth=1.2, label=mpi_library)
        axis.set_xscale("log", base=2)
        ticks = sizes[:: max(1, len(sizes) // 3)]
        axis.set_xticks(ticks, [format_size(tick) for tick in ticks])
        axis.minorticks_off()
        axis.grid(visible=True, color="0.9", linewidth=0.7)
    latency.set_yscale("log")
    latency.yaxis.set_minor_formatter("")
    latency.set_title(name, fontweight="bold")
    latency.set_ylabel("time (µs), band to p99")
    bandwidth.set_ylabel("busbw (GB/s)")
    bandwidth.set_ylim(bottom=0)
    latency.legend(frameon=False, fontsize=8)
