"""Recursive doubling and halving: partners at distance 1, 2, 4, …"""

from __future__ import annotations

from pyccl.algorithms.registry import algorithm
from pyccl.schedule import Builder

THAKUR = "Thakur, Rabenseifner & Gropp 2005, doi:10.1177/1094342005051521"
RABENSEIFNER = "Rabenseifner 2004, doi:10.1007/978-3-540-24685-5_1"


def is_power_of_two(size: int) -> bool:
    """Return whether `size` is 1, 2, 4, 8, …"""
    return size & (size - 1) == 0


def _floor_power(size: int) -> int:
    return 1 << (size.bit_length() - 1)


class _Fold:
    """Leaves a power of two of active ranks: of the first 2(p-q) ranks the even ones hand over to the odd ones.

    Active ranks are numbered in rank order, so that blocks of them stay blocks of ranks.
    """

    def __init__(self, b: Builder, nchunks: int) -> None:
        self.b = b
        self.active = _floor_power(b.size)
        self.folded = b.size - self.active
        self.chunks = range(nchunks)

    def enter(self) -> int | None:
        """Fold in; return my number among the active ranks, or None."""
        b = self.b
        if b.rank >= 2 * self.folded:
            return b.rank - self.folded
        if b.rank % 2 == 0:
            b.send(chunk=self.chunks, dest=b.rank + 1)
            return None
        b.recv_reduce(chunk=self.chunks, source=b.rank - 1)
        return b.rank // 2

    def rank_of(self, number: int) -> int:
        """Return the rank of an active number."""
        return 2 * number + 1 if number < self.folded else number + self.folded

    def leave(self) -> None:
        """Fold out: hand the result to those who sat out."""
        b = self.b
        if b.rank >= 2 * self.folded:
            return
        if b.rank % 2 == 0:
            b.recv(chunk=self.chunks, source=b.rank + 1)
        else:
            b.send(chunk=self.chunks, dest=b.rank - 1)


@algorithm("all_reduce", name="recursive_doubling", commutative_only=False, reference=THAKUR)
def all_reduce_doubling(b: Builder) -> None:
    """Recursive doubling: in step k exchange everything with the partner at distance 2^k [1]_.

    log2(p) steps, for short vectors; other sizes than powers of two fold in and out (2 steps more).

    References
    ----------
    .. [1] R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of collective communication operations in MPICH", Int.
       J. High Perform. Comput. Appl. 19 (2005), doi:10.1177/1094342005051521
    """
    b.chunks(1)
    fold = _Fold(b, nchunks=1)
    me = fold.enter()
    distance = 1
    while me is not None and distance < fold.active:
        partner = fold.rank_of(me ^ distance)
        b.send(chunk=0, dest=partner)
        b.recv_reduce(chunk=0, source=partner)
        distance *= 2
    fold.leave()


@algorithm("all_reduce", name="rabenseifner", commutative_only=False, reference=RABENSEIFNER)
def all_reduce_halving_doubling(b: Builder) -> None:
    """Rabenseifner's all_reduce: reduce_scatter by vector halving, all_gather by vector doubling [1]_.

    2 log2(p) steps and 2(p-1)/p of the vector. Distances double while vectors halve, so that partial sums cover
    neighbouring ranks and operands stay in rank order. Other sizes than powers of two fold in and out.

    References
    ----------
    .. [1] R. Rabenseifner, "Optimization of collective reduction operations", ICCS 2004,
       doi:10.1007/978-3-540-24685-5_1
    """
    active = _floor_power(b.size)
    b.chunks(active)
    fold = _Fold(b, nchunks=active)
    me = fold.enter()
    if me is not None:
        exchanges = []
        mine = range(active)
        for k in range(active.bit_length() - 1):
            partner = fold.rank_of(me ^ (1 << k))
            lower, upper = mine[: len(mine) // 2], mine[len(mine) // 2 :]
            mine, theirs = (upper, lower) if me >> k & 1 else (lower, upper)
            b.send(chunk=theirs, dest=partner)
            b.recv_reduce(chunk=mine, source=partner)
            exchanges.append((partner, mine, theirs))
        for partner, mine, theirs in reversed(exchanges):
            b.send(chunk=mine, dest=partner)
            b.recv(chunk=theirs, source=partner)
    fold.leave()


@algorithm("reduce_scatter", name="recursive_halving", sizes=is_power_of_two, reference=THAKUR)
def reduce_scatter(b: Builder) -> None:
    """Recursive halving, log2(p) steps: hand the partner at distance p/2, p/4, … the half of the chunks on its side."""
    distance = b.size // 2
    while distance:
        partner = b.rank ^ distance
        b.send(chunk=_block(partner, distance), dest=partner)
        b.recv_reduce(chunk=_block(b.rank, distance), source=partner)
        distance //= 2


@algorithm("all_gather", name="recursive_doubling", sizes=is_power_of_two, reference=THAKUR)
def all_gather(b: Builder) -> None:
    """Recursive doubling, log2(p) steps: exchange all that is held with the partner at distance 1, 2, 4, …"""
    distance = 1
    while distance < b.size:
        partner = b.rank ^ distance
        b.send(chunk=_block(b.rank, distance), dest=partner)
        b.recv(chunk=_block(partner, distance), source=partner)
        distance *= 2


def _block(rank: int, length: int) -> range:
    start = rank - rank % length
    return range(start, start + length)
