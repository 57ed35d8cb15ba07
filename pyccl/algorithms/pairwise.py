"""Exchanges at growing distance: pairwise, Bruck's, dissemination."""

from __future__ import annotations

from pyccl.algorithms.registry import algorithm
from pyccl.schedule import Builder

THAKUR = "Thakur, Rabenseifner & Gropp 2005, doi:10.1177/1094342005051521"
BRUCK = "Bruck, Ho, Kipnis, Upfal & Weathersby 1997, doi:10.1109/71.642949"
HENSGEN = "Hensgen, Finkel & Manber 1988, Int. J. Parallel Program. 17"


@algorithm("reduce_scatter", name="pairwise", reference=THAKUR, symmetric=True)
def reduce_scatter(b: Builder) -> None:
    """Pairwise exchange: in step k send rank r+k its chunk and receive one's own from r-k; p-1 steps."""
    p, r = b.size, b.rank
    for k in range(1, p):
        right, left = (r + k) % p, (r - k) % p
        b.send(chunk=right, dest=right)
        b.recv_reduce(chunk=r, source=left)


@algorithm("all_to_all", name="pairwise", reference=THAKUR, symmetric=True)
def all_to_all(b: Builder) -> None:
    """Pairwise exchange: in step k send to rank r+k and receive from r-k; p-1 steps, every byte sent once."""
    p, r = b.size, b.rank
    for k in range(1, p):
        right, left = (r + k) % p, (r - k) % p
        b.send(chunk=r * p + right, dest=right)
        b.recv(chunk=left * p + r, source=left)


@algorithm("all_to_all", name="bruck", reference=BRUCK, symmetric=True)
def all_to_all_bruck(b: Builder) -> None:
    """Bruck's all_to_all, ceil(log2 p) steps, for short chunks: about half of all bytes travel in every step [1]_.

    A chunk for the rank o places to the right moves 2^k places in step k if bit k of o is set.

    References
    ----------
    .. [1] J. Bruck, C.-T. Ho, S. Kipnis, E. Upfal, D. Weathersby, "Efficient algorithms for all-to-all communications
       in multiport message-passing systems", IEEE Trans. Parallel Distrib. Syst. 8 (1997), doi:10.1109/71.642949
    """
    p, r = b.size, b.rank

    def passing(rank: int, k: int) -> list[int]:
        """Return the chunks that leave `rank` in step k: each has come o mod 2^k places from its source."""
        offsets = [o for o in range(p) if o >> k & 1]
        sources = [(rank - o % (1 << k)) % p for o in offsets]
        return [source * p + (source + o) % p for source, o in zip(sources, offsets, strict=True)]

    for k in range((p - 1).bit_length()):
        right, left = (r + (1 << k)) % p, (r - (1 << k)) % p
        b.send(chunk=passing(r, k), dest=right)
        b.recv(chunk=passing(left, k), source=left)


@algorithm("all_gather", name="bruck", reference=BRUCK, symmetric=True)
def all_gather_bruck(b: Builder) -> None:
    """Bruck's all_gather, ceil(log2 p) steps for any p: pass on all chunks held, from distance 1, 2, 4, …"""
    p, r = b.size, b.rank
    held = 1
    while held < p:
        more = min(held, p - held)
        left, right = (r - held) % p, (r + held) % p
        b.send(chunk=[(r + i) % p for i in range(more)], dest=left)
        b.recv(chunk=[(right + i) % p for i in range(more)], source=right)
        held += more


@algorithm("barrier", name="dissemination", reference=HENSGEN, symmetric=True)
def barrier(b: Builder) -> None:
    """Dissemination barrier, ceil(log2 p) steps: in step k tell rank r+2^k all that one has heard [1]_.

    References
    ----------
    .. [1] D. Hensgen, R. Finkel, U. Manber, "Two algorithms for barrier synchronization", Int. J. Parallel Program. 17
       (1988)
    """
    p, r = b.size, b.rank
    distance = 1
    while distance < p:
        b.send(chunk=0, dest=(r + distance) % p)
        b.recv_reduce(chunk=0, source=(r - distance) % p)
        distance *= 2
