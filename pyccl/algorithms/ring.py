"""Algorithms on a ring: every rank sends to its right neighbour and receives from its left one."""

from __future__ import annotations

from pyccl.algorithms.registry import algorithm
from pyccl.schedule import Builder

PATARASU = "Patarasu & Yuan 2009, doi:10.1016/j.jpdc.2008.09.002"
THAKUR = "Thakur, Rabenseifner & Gropp 2005, doi:10.1177/1094342005051521"


@algorithm("all_reduce", name="ring", reference=PATARASU, symmetric=True)
def all_reduce(b: Builder) -> None:
    """Ring all_reduce: reduce_scatter then all_gather, p chunks, 2(p-1) steps [1]_.

    Bandwidth-optimal: every rank sends 2(p-1)/p of the vector.

    References
    ----------
    .. [1] P. Patarasu, X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", J. Parallel
       Distrib. Comput. 69 (2009), doi:10.1016/j.jpdc.2008.09.002
    """
    p, r = b.size, b.rank
    right, left = (r + 1) % p, (r - 1) % p
    for k in range(p - 1):  # after this, rank r owns chunk r + 1, fully reduced
        b.send(chunk=(r - k) % p, dest=right)
        b.recv_reduce(chunk=(r - k - 1) % p, source=left)
    for k in range(p - 1):
        b.send(chunk=(r + 1 - k) % p, dest=right)
        b.recv(chunk=(r - k) % p, source=left)


@algorithm("reduce_scatter", name="ring", reference=PATARASU, symmetric=True)
def reduce_scatter(b: Builder) -> None:
    """Ring reduce_scatter, p-1 steps: chunk c starts at rank c+1 and is complete when it reaches rank c."""
    p, r = b.size, b.rank
    right, left = (r + 1) % p, (r - 1) % p
    for k in range(p - 1):
        b.send(chunk=(r - k - 1) % p, dest=right)
        b.recv_reduce(chunk=(r - k - 2) % p, source=left)


@algorithm("all_gather", name="ring", reference=THAKUR, symmetric=True)
def all_gather(b: Builder) -> None:
    """Ring all_gather, p-1 steps: every chunk goes once round."""
    p, r = b.size, b.rank
    right, left = (r + 1) % p, (r - 1) % p
    for k in range(p - 1):
        b.send(chunk=(r - k) % p, dest=right)
        b.recv(chunk=(r - k - 1) % p, source=left)
