"""The reference execution of a schedule on NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import accumulate
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pyccl.schedule.machine import Machine
from pyccl.schedule.table import Schedule

Array: TypeAlias = NDArray[Any]
Fold: TypeAlias = Callable[[Array, Array], Array]


def interpret(
    schedule: Schedule,
    inputs: Sequence[Array],
    op: Fold = np.add,
    counts: Sequence[int] | None = None,
    *,
    accumulate_as: DTypeLike | None = None,
) -> list[Array]:
    """Execute `schedule` on the ranks' inputs, one process, no transport.

    Parameters
    ----------
    schedule : Schedule
    inputs : sequence of arrays, one per rank, shape (n_r,)
        The concatenation of the chunks that the rank holds at the start; ignored where it holds none.
    op : callable (left, right) -> array, default numpy.add
        Elementwise operation.
    counts : sequence of int, shape (nchunks,), optional
        Elements of each chunk. Default: an even split of the vector; for all_gather and gather the inputs' lengths.
    accumulate_as : dtype, optional
        Type in which one n-ary pass accumulates (float32 for 16-bit types in the engine); default: the inputs' own.

    Returns
    -------
    list of arrays, one per rank, shape (m_r,)
        The concatenation of the chunks that the rank must hold at the end: empty where it must hold none.

    Raises
    ------
    ValueError
        If there are not `size` inputs, or an input's length is not the sum of its chunks' counts.
    VerificationError
        If the schedule cannot run to its end.
    """
    if len(inputs) != schedule.size:
        raise ValueError(f"inputs must be one array per rank, got {len(inputs)} for {schedule.size} ranks")
    sizes = tuple(counts) if counts is not None else _default_counts(schedule, inputs)
    held = [_cut(schedule, rank, x, sizes) for rank, x in enumerate(inputs)]

    def combine(rank: int, index: int, operands: list[Array]) -> Array:
        if accumulate_as is None:
            return reduce(op, operands)
        wide = reduce(op, [x.astype(accumulate_as) for x in operands])
        return wide.astype(operands[0].dtype)

    Machine(schedule, held, combine).run()
    nothing = inputs[schedule.root][:0]
    return [np.concatenate([nothing, *(held[rank][c] for c in schedule.final(rank))]) for rank in range(schedule.size)]


def _default_counts(schedule: Schedule, inputs: Sequence[Array]) -> tuple[int, ...]:
    row, size, nchunks = schedule.row, schedule.size, schedule.nchunks
    if schedule.collective in ("all_gather", "gather"):
        return tuple(len(x) for x in inputs)
    if schedule.collective == "all_to_all":
        rows = [row.chunk_counts(len(x), size, nchunks)[:size] for x in inputs]
        return tuple(count for counts in rows for count in counts)
    return row.chunk_counts(len(inputs[schedule.root]), size, nchunks)


def _cut(schedule: Schedule, rank: int, x: Array, sizes: tuple[int, ...]) -> dict[int, Array]:
    chunks = schedule.initial(rank)
    if not chunks:
        return {}
    ends = list(accumulate(sizes[c] for c in chunks))
    if schedule.collective != "barrier" and len(x) != ends[-1]:
        raise ValueError(f"rank {rank}'s input must have {ends[-1]} elements, got {len(x)}")
    starts = [0, *ends[:-1]]
    return {c: x[start:end].copy() for c, start, end in zip(chunks, starts, ends, strict=True)}
