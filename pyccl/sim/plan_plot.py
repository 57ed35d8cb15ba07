"""The picture of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyccl.sim.plot import COLOURS, figure

if TYPE_CHECKING:
    from pyccl.sim.plan_result import Plan


def draw(plan: Plan) -> Any:
    """Draw cost against time with the Pareto set, and what moves the answer."""
    drawn, ((cloud, effects),) = figure(2, width=5.6, height=4)
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    scale, unit = time_unit(max(row.seconds for row in plan.pareto))
    cloud.scatter([row.seconds / scale for row in plan.rows], [row.cost for row in plan.rows], s=9, color="0.75",
                  label="configurations")  # fmt: skip
    cloud.errorbar(
        [row.seconds / scale for row in plan.pareto], [row.cost for row in plan.pareto],
        xerr=[row.error / scale if row.seeds > 1 else 0 for row in plan.pareto], color=COLOURS[0], marker="o",
        markersize=4, linewidth=1.2, label="Pareto set",
    )  # fmt: skip
    best = plan.recommended
    if best is not None:
        cloud.plot([best.seconds / scale], [best.cost], "*", color=COLOURS[4], markersize=13, label=str(best.choice))
    slowest, dearest = max(row.seconds for row in plan.rows), max(row.cost for row in plan.rows)
    if plan.deadline is not None and plan.deadline < 5 * slowest:
        cloud.axvline(plan.deadline / scale, color="0.4", linestyle=":", label="deadline")
    if plan.budget is not None and plan.budget < 5 * dearest:
        cloud.axhline(plan.budget, color="0.4", linestyle="--", label="budget")
    cloud.set(xscale="log", yscale="log", xlabel=f"time to the goal ({unit})", ylabel=f"cost ({plan.unit})")
    for axis in (cloud.xaxis, cloud.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    cloud.legend(frameon=False, fontsize=7)
    shown = plan.effects[::-1]
    effects.barh([effect.what for effect in shown], [effect.change * 100 for effect in shown], color=COLOURS[3])
    effects.axvline(0, color="0.3", linewidth=0.8)
    effects.set(xlabel="change of the time (%)")
    return drawn


def time_unit(seconds: float) -> tuple[float, str]:
    """Return the seconds and the name of the unit in which to draw times up to `seconds`."""
    return next(((s, name) for s, name in ((86400, "days"), (3600, "h"), (60, "min")) if seconds >= 2 * s), (1, "s"))
