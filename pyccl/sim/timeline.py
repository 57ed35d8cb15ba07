"""One training step as a program of its slowest worker: compute, launch a communication, wait for it.

Communications launched on the same lane run one after the other, in the order of launching, beside the computation, as
on a stream. All times are arrays, one entry for each of many steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pyccl.sim.costs import LEVELS, Cost
from pyccl.sim.group_play import Floats


@dataclass(frozen=True, eq=False)
class Event:
    """What a program did: a computation of `seconds`, or a communication, or a wait that ended at `end`."""

    kind: str
    seconds: float = 0.0
    begin: Floats | None = None
    end: Floats | None = None


@dataclass(eq=False)
class Timeline:
    """The clock of the slowest worker.

    Attributes
    ----------
    pace : array of float, shape (n,)
        What its computations take in each step, as a multiple of the model's times.
    now : array of float, shape (n,)
        Where it stands, in seconds from the step's begin.
    level : int
        The network, of `pyccl.sim.costs.LEVELS`: 0 takes no time, the last is the true one.
    record : bool
        Whether `events` are kept.
    """

    pace: Floats
    now: Floats
    level: int = LEVELS - 1
    record: bool = False
    events: list[Event] = field(default_factory=list)
    launched: dict[int, tuple[Cost, int]] = field(default_factory=dict)
    _free: dict[str, Floats] = field(default_factory=dict)

    def compute(self, seconds: float, kind: str) -> None:
        """Work for so many of the model's seconds."""
        if seconds:
            self.now = self.now + seconds * self.pace
            self._note(Event(kind, seconds))

    def launch(self, cost: Cost, kind: str, lane: str = "network") -> Floats:
        """Begin a communication, or queue it behind those on its lane; return when it ends."""
        begin = np.maximum(self.now, self._free[lane]) if lane in self._free else self.now
        end: Floats = begin + cost.at(self.level)
        self._free[lane] = end
        self._note(Event(kind, begin=begin, end=end))
        times = self.launched.get(id(cost), (cost, 0))[1]
        self.launched[id(cost)] = cost, times + 1
        return end

    def wait(self, end: Floats) -> None:
        """Go on when `end` has come."""
        self.now = np.maximum(self.now, end)
        self._note(Event("", end=end))

    def _note(self, event: Event) -> None:
        if self.record:
            self.events.append(event)

    @property
    def link_bytes(self) -> Floats:
        """Bytes that cross each link in one step."""
        moved: Floats = np.zeros(1)
        for cost, times in self.launched.values():
            moved = moved + cost.link_bytes * times
        return moved
