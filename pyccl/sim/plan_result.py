"""What a search has found: configurations, the Pareto set among them, and what moves the answer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pyccl.sim import plan_plot, report
from pyccl.sim.plot import save


@dataclass(frozen=True)
class Choice:
    """A configuration.

    Attributes
    ----------
    workers : int
        Devices of the cluster.
    strategy : str
        With its options: the algorithm is part of the name, the bucket an option.
    topology : str
    """

    workers: int
    strategy: str
    topology: str

    def __str__(self) -> str:
        return f"{self.strategy} on {self.workers} devices, {self.topology}"


@dataclass(frozen=True)
class Row:
    """What a configuration takes to the goal.

    Attributes
    ----------
    choice : Choice
    seconds : float
        Mean over the seeds.
    error : float
        Half the width of the 95 % confidence interval of `seconds`; infinite after one seed.
    cost : float
        USD, or device-hours where the cluster has no prices.
    seeds : int
    advice : str
    excess : str
        What to say where it does not fit in a device's memory, else nothing.
    """

    choice: Choice
    seconds: float
    error: float
    cost: float
    seeds: int
    advice: str
    excess: str = ""


@dataclass(frozen=True)
class Effect:
    """What a change of the recommended configuration would bring: its name, and the new seconds and cost."""

    what: str
    seconds: float
    cost: float
    change: float


@dataclass(frozen=True)
class Plan:
    """The outcome of a search.

    Attributes
    ----------
    rows : tuple of Row
        All configurations that can run.
    refused : tuple of (Choice, str)
        Those that cannot, and why.
    deadline, budget : float or None
        Seconds, and USD.
    unit : {"USD", "device-h"}
        Of costs.
    effects : tuple of Effect
        Sensitivity of the recommended row: the parameter that moves it most first.
    too_large : tuple of (Choice, str)
        Those left out because they do not fit in a device's memory, and what they need.
    """

    rows: tuple[Row, ...]
    refused: tuple[tuple[Choice, str], ...]
    deadline: float | None
    budget: float | None
    unit: str
    effects: tuple[Effect, ...] = ()
    too_large: tuple[tuple[Choice, str], ...] = ()

    @cached_property
    def pareto(self) -> tuple[Row, ...]:
        """Rows that no other beats in both time and cost, cheapest first."""
        return tuple(front(self.rows))

    def meets(self, row: Row) -> bool:
        """Say whether a row keeps deadline and budget."""
        in_time = self.deadline is None or row.seconds <= self.deadline
        return in_time and (self.budget is None or row.cost <= self.budget)

    @cached_property
    def recommended(self) -> Row | None:
        """The cheapest row that keeps deadline and budget."""
        return next(filter(self.meets, self.pareto), None)

    @cached_property
    def answer(self) -> str:
        """The answer in a sentence."""
        best = self.recommended
        if best is not None:
            width = f" ± {report.seconds(best.error)}" if math.isfinite(best.error) else ""
            return f"{best.choice}: {report.seconds(best.seconds)}{width}, {best.cost:.5g} {self.unit}. {best.advice}"
        cheapest, fastest = self.pareto[0], self.pareto[-1]
        return (
            f"Nothing keeps deadline and budget: the cheapest, {cheapest.choice}, takes "
            f"{report.seconds(cheapest.seconds)} and {cheapest.cost:.5g} {self.unit}; the fastest, {fastest.choice}, "
            f"{report.seconds(fastest.seconds)} and {fastest.cost:.5g} {self.unit}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON has it."""
        chosen = set(map(id, self.pareto))
        return {
            "format": "pyccl.sim.plan", "version": 1, "deadline_s": self.deadline, "budget_usd": self.budget,
            "cost_unit": self.unit, "answer": self.answer,
            "recommended": None if self.recommended is None else self._row(self.recommended, pareto=True),
            "rows": [self._row(row, pareto=id(row) in chosen) for row in self.rows],
            "refused": [{**dataclasses.asdict(choice), "why": why} for choice, why in self.refused],
            "too_large": [{**dataclasses.asdict(choice), "why": why} for choice, why in self.too_large],
            "sensitivity": [
                {"what": e.what, "seconds": e.seconds, "cost": e.cost, "change": e.change} for e in self.effects
            ],
        }  # fmt: skip

    def _row(self, row: Row, *, pareto: bool) -> dict[str, Any]:
        return {
            **dataclasses.asdict(row.choice), "seconds": row.seconds, "error_s": row.error, "cost": row.cost,
            "seeds": row.seeds, "pareto": pareto, "meets": self.meets(row), "fits": not row.excess,
        }  # fmt: skip

    def to_json(self, path: str | Path) -> None:
        """Write `to_dict`."""
        report.write_json(path, self.to_dict())

    def to_csv(self, path: str | Path) -> None:
        """Write a line per row."""
        rows = self.to_dict()["rows"]
        report.write_csv(path, {name: [row[name] for row in rows] for name in rows[0]})

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw cost against time with the Pareto set, and the sensitivities."""
        return save(plan_plot.draw(self), path)


def front(rows: Sequence[Row], slack: float = 1.0) -> list[Row]:
    """Return the rows not beaten in both time and cost, even if others were slower by `slack`; cheapest first."""
    found, fastest = [], math.inf
    for row in sorted(rows, key=lambda row: (row.cost, row.seconds, str(row.choice))):
        if row.seconds < fastest * slack:
            found.append(row)
            fastest = min(fastest, row.seconds)
    return found
