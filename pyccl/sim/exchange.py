"""What several strategies share of a data-parallel step: backward passes that hand gradients over in buckets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import fsum

from pyccl.sim.buckets import FIRST, plan
from pyccl.sim.costs import Cost
from pyccl.sim.group_play import Floats
from pyccl.sim.model import Layer, Model
from pyccl.sim.timeline import Timeline

Launch = Callable[[int, int], Floats]
"""Begins the exchange of bucket `index` of `nbytes` bytes; returns its end."""


@dataclass(frozen=True)
class Part:
    """Successive layers, in the order of the backward pass, whose gradients travel together."""

    layers: tuple[Layer, ...]
    nbytes: int

    @property
    def forward(self) -> float:
        """Seconds of one micro-batch."""
        return fsum(layer.forward for layer in self.layers)

    @property
    def backward(self) -> float:
        """Seconds of one micro-batch."""
        return fsum(layer.backward for layer in self.layers)


def parts_of(layers: Sequence[Layer], cap: float, first: float = FIRST) -> tuple[Part, ...]:
    """Return the bucket plan of layers given in forward order; what follows the last bucket is a part without bytes."""
    backward = tuple(reversed(layers))
    buckets = plan([layer.nbytes for layer in backward], cap, first)
    parts = [Part(backward[bucket.begin : bucket.end], bucket.nbytes) for bucket in buckets]
    rest = backward[buckets[-1].end :] if buckets else backward
    return (*parts, Part(rest, 0)) if rest else tuple(parts)


def earlier_micro_batches(timeline: Timeline, model: Model) -> None:
    """Compute all micro-batches but the last, whose gradients stay where they are."""
    for _ in range(model.micro_batches - 1):
        timeline.compute(model.forward / model.micro_batches, "forward")
        timeline.compute(model.backward / model.micro_batches, "backward")


def backward(timeline: Timeline, parts: Sequence[Part], launch: Launch, *, overlap: bool) -> Floats | None:
    """Compute a backward pass part by part and hand each part over when it is ready; return the last one's end.

    F_b = max(R_b, F_(b-1)) + cost(S_b) with the instants of readiness R; without overlap all are ready at the end.
    """
    end = None
    for index, part in enumerate(parts):
        timeline.compute(part.backward, "backward")
        if overlap and part.nbytes:
            end = launch(index, part.nbytes)
    if not overlap:
        for index, part in enumerate(parts):
            if part.nbytes:
                end = launch(index, part.nbytes)
    return end


def launcher(timeline: Timeline, cost: Callable[[int], Cost], kind: str, lane: str = "network") -> Launch:
    """Return a `Launch` that asks `cost` for the price of so many bytes."""
    return lambda index, nbytes: timeline.launch(cost(nbytes), f"{kind} bucket {index}", lane)
