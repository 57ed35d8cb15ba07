"""Figures of calls that are timed in turn: medians, and how far values were apart."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from .runner import no_garbage_collection, worst
from .units import format_size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .interface import Call, World


@dataclass(frozen=True)
class Figure:
    """What was measured: `unit` is "s" (maximum over the ranks), "1/s" or "times"; over `rounds` alternating rounds."""

    case: str
    what: str
    bytes: int
    ranks: int
    unit: str
    median: float
    low: float
    high: float
    rounds: int
    wrong: int = 0

    def line(self) -> str:
        """Return it as it is printed."""
        scale, unit = {"s": (1e3, "ms"), "1/s": (1e-3, "k/s"), "times": (1.0, "×")}[self.unit]
        values = f"{self.median * scale:11.3f} {unit:4} ({self.low * scale:.3f} … {self.high * scale:.3f})"
        return f"{self.case:11} {self.what:30} {format_size(self.bytes):>8} {values:44} {self.wrong:>7}"


HEAD = f"# {'case':9} {'what':30} {'size':>8} {'median':>11} {'':4} {'(spread)':27} {'#wrong':>7}"


def figure(case: str, what: str, nbytes: int, ranks: int, unit: str, values: Sequence[float], wrong: int = 0) -> Figure:
    """Return the median of `values` and how far they were apart."""
    return Figure(
        case, what, nbytes, ranks, unit, float(np.median(values)), float(min(values)), float(max(values)),
        len(values), wrong,
    )  # fmt: skip


def alternate(world: World, calls: Sequence[Call], rounds: int) -> list[list[float]]:
    """Return the seconds of every call in every round: the maximum over the ranks, each between two barriers."""
    times = np.zeros((len(calls), rounds))
    with no_garbage_collection():
        for call in calls:
            call()
        for k in range(rounds):
            for i, call in enumerate(calls):
                world.comm.barrier()
                begun = perf_counter()
                call()
                world.comm.barrier()
                times[i, k] = perf_counter() - begun
    return [list(map(float, row)) for row in worst(world, times.reshape(-1)).reshape(times.shape)]


def write_figures(path: Path, environment: dict[str, Any], figures: Sequence[Figure]) -> None:
    """Write `{"environment": ..., "rows": [...]}`."""
    rows = [{"collective": "ps", **asdict(one)} for one in figures]
    path.write_text(json.dumps({"environment": environment, "rows": rows}, indent=1) + "\n")
