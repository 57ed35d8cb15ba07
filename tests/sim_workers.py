"""Workers for tests of strategies whose times are given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Given:
    """The factors on the model's time of each worker and step, shape (size, steps)."""

    factors: Floats

    def times(self, size: int, steps: int, seconds: float, seed: int, first: int = 0) -> Floats:
        return seconds * self.factors[:size, first : first + steps]
