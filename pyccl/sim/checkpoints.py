"""After which steps a job makes its checkpoints."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def checkpoints(ends: NDArray[np.float64], between: float) -> NDArray[np.int64]:
    """Return after which steps checkpoints are made: as soon as so many seconds of work have passed since the last."""
    if between <= 0:
        return np.arange(max(0, len(ends) - 1))
    made: list[int] = []
    last = 0.0
    while math.isfinite(between):
        step = int(np.searchsorted(ends, last + between))
        if step >= len(ends) - 1:
            break
        made.append(step)
        last = float(ends[step])
    return np.array(made, dtype=np.int64)
