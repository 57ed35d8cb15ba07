"""The bucket plan of a gradient exchange: which tensors travel together, in the order in which they become ready.

A pure function; the runtime's exchange is to use the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

CAP = 25 << 20
FIRST = 1 << 20
"""Bytes of a bucket, and of the first, which is small so that the exchange begins early: PyTorch's defaults [1]_.

.. [1] S. Li et al., "PyTorch distributed: experiences on accelerating data parallel training", VLDB 2020,
   doi:10.14778/3415478.3415530
"""


@dataclass(frozen=True)
class Bucket:
    """Tensors from `begin` up to `end`, in the order of readiness, and their bytes."""

    begin: int
    end: int
    nbytes: int


def plan(sizes: Iterable[int], cap: float = CAP, first: float = FIRST) -> tuple[Bucket, ...]:
    """Cut tensors into buckets: one is closed as soon as it has `cap` bytes, the first with `first`.

    Tensors stay whole, so that a bucket may be larger than that. Those without bytes go with the next that has some;
    at the end, with none.

    Parameters
    ----------
    sizes : iterable of int
        Bytes of each tensor, in the order in which they become ready.
    cap, first : float
        Bytes; `first` is at most `cap`.

    Examples
    --------
    >>> plan([1, 4, 2, 5, 3], cap=6, first=1)
    (Bucket(begin=0, end=1, nbytes=1), Bucket(begin=1, end=3, nbytes=6), Bucket(begin=3, end=5, nbytes=8))
    """
    buckets: list[Bucket] = []
    begin = end = nbytes = 0
    limit = min(first, cap)
    for index, size in enumerate(sizes, 1):
        if size == 0:
            continue
        end, nbytes = index, nbytes + size
        if nbytes >= limit:
            buckets.append(Bucket(begin, end, nbytes))
            begin, nbytes, limit = end, 0, cap
    if nbytes:
        buckets.append(Bucket(begin, end, nbytes))
    return tuple(buckets)
