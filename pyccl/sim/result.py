"""What a simulated collective has brought."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyccl.collectives import collective as row_of
from pyccl.sim.cluster import Cluster


@dataclass(frozen=True, eq=False)
class CollectiveResult:
    """The outcome of `simulate_collective`.

    Attributes
    ----------
    cluster : Cluster
    collective, algorithm : str
    nbytes : int
        Bytes of the collective's large side.
    time : float
        Seconds from the first rank's start to the last rank's end.
    finish : array of float, shape (size,)
        Seconds on the clock of `starts` when each rank ended.
    fidelity : {"static", "events"}
    method : {"closed form", "recurrence", "folded ranks", "events"}
        What was used: a formula, the (max,+) recurrence, one rank that stands for all, or every message.
    messages : int
        Messages that were simulated one by one.
    outputs : list of arrays or None
        With a payload: what each rank would hold, bit for bit.
    """

    cluster: Cluster
    collective: str
    algorithm: str
    nbytes: int
    time: float
    finish: NDArray[np.float64]
    fidelity: str
    method: str
    messages: int
    outputs: list[NDArray[Any]] | None
    _traffic: Callable[[], tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = field(repr=False)

    def __str__(self) -> str:
        return (
            f"{self.collective} {self.algorithm} of {self.nbytes} bytes on {self.cluster.size} ranks: "
            f"{self.time * 1e3:.6g} ms, busbw {self.busbw / 1e9:.4g} GB/s ({self.method})"
        )

    @property
    def algbw(self) -> float:
        """Bytes/s of the large side."""
        return self.nbytes / self.time if self.time > 0 else float("inf")

    @property
    def busbw(self) -> float:
        """`algbw` times the collective's factor, to compare with a link's bandwidth."""
        return self.algbw * row_of(self.collective).busbw_factor(self.cluster.size)

    @cached_property
    def link_bytes(self) -> NDArray[np.float64]:
        """Bytes that crossed each link, shape (links,)."""
        source, destination, moved = self._traffic()
        ends, links = self.cluster.routes(source, destination)
        each = np.repeat(moved, np.diff(ends, prepend=0))
        return np.bincount(links, weights=each, minlength=len(self.cluster.bandwidth)).astype(np.float64)

    @cached_property
    def link_utilisation(self) -> NDArray[np.float64]:
        """Share of each link's capacity that was used, shape (links,)."""
        capacity = self.cluster.bandwidth * self.time
        return np.divide(self.link_bytes, capacity, out=np.zeros_like(capacity), where=capacity > 0)
