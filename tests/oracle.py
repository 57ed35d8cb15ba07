"""What the collectives mean, written down without schedules: inputs of all ranks in, outputs of all ranks out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce as fold
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def cut(x: Array, counts: Sequence[int]) -> list[Array]:
    """Return the consecutive pieces of `x`."""
    return np.split(x, np.cumsum(counts)[:-1])


def expected(
    collective: str, inputs: Sequence[Array], root: int, counts: Sequence[int], op: Callable[..., Any] = np.add
) -> list[Array]:
    """Return every rank's output; `counts` are elements per rank, for all_to_all per (source, dest)."""
    size, nothing = len(inputs), inputs[root][:0]
    at_root = [r == root for r in range(size)]
    if collective in ("all_reduce", "barrier"):
        return [fold(op, inputs)] * size
    if collective == "reduce":
        return [fold(op, inputs) if here else nothing for here in at_root]
    if collective == "reduce_scatter":
        return cut(fold(op, inputs), counts)
    if collective == "broadcast":
        return [inputs[root]] * size
    if collective == "all_gather":
        return [np.concatenate(inputs)] * size
    if collective == "gather":
        return [np.concatenate(inputs) if here else nothing for here in at_root]
    if collective == "scatter":
        return cut(inputs[root], counts)
    if collective == "all_to_all":
        parts = [cut(x, counts[r * size : (r + 1) * size]) for r, x in enumerate(inputs)]
        return [np.concatenate([parts[source][dest] for source in range(size)]) for dest in range(size)]
    raise ValueError(f"no oracle for {collective}")


def make_inputs(collective: str, size: int, counts: Sequence[int], count: int, root: int) -> list[Array]:
    """Return distinct integers for every rank, as long as the collective wants them."""

    def length(rank: int) -> int:
        if collective in ("all_reduce", "reduce", "broadcast"):
            return count
        if collective in ("all_gather", "gather"):
            return counts[rank]
        if collective == "all_to_all":
            return sum(counts[rank * size : (rank + 1) * size])
        return 0 if collective == "barrier" else sum(counts)

    return [np.arange(length(r), dtype=np.int64) * 131 + 1009 * r + 7 * root for r in range(size)]
