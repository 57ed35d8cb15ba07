"""Algorithms on binomial trees.

A tree is given as a line of ranks with the root first; place v has the children v+1, v+2, v+4, … below its own lowest
set bit, and its subtree is the stretch of the line that begins at v.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pyccl.algorithms.registry import algorithm
from pyccl.schedule import Builder

THAKUR = "Thakur, Rabenseifner & Gropp 2005, doi:10.1177/1094342005051521"


def line_from(ranks: Sequence[int], root: int) -> list[int]:
    """Return `ranks` rotated so that `root` comes first."""
    start = list(ranks).index(root)
    return [*ranks[start:], *ranks[:start]]


def _reach(place: int, length: int) -> int:
    """Return how far the subtree of `place` can extend: its lowest set bit; for the root the whole line."""
    return place & -place if place else 1 << (length - 1).bit_length()


def tree_broadcast(b: Builder, line: Sequence[int], chunks: Iterable[int]) -> None:
    """Send `chunks` from the first rank of `line` to all, larger subtrees first."""
    chunks = list(chunks)
    me, length = line.index(b.rank), len(line)
    reach = _reach(me, length)
    if me:
        b.recv(chunk=chunks, source=line[me - reach])
    while reach > 1:
        reach //= 2
        if me + reach < length:
            b.send(chunk=chunks, dest=line[me + reach])


def tree_reduce(b: Builder, line: Sequence[int], chunks: Iterable[int]) -> None:
    """Reduce `chunks` of all ranks of `line` to the first; in rank order if `line` ascends."""
    chunks = list(chunks)
    me, length = line.index(b.rank), len(line)
    distance = 1
    while distance < _reach(me, length):
        if me + distance < length:
            b.recv_reduce(chunk=chunks, source=line[me + distance])
        distance *= 2
    if me:
        b.send(chunk=chunks, dest=line[me - distance])


@algorithm("all_reduce", name="tree", commutative_only=False, reference=THAKUR)
def all_reduce(b: Builder) -> None:
    """Binomial reduce to rank 0, then binomial broadcast: 2 ceil(log2 p) steps."""
    b.chunks(1)
    line = range(b.size)
    tree_reduce(b, line, [0])
    tree_broadcast(b, line, [0])


@algorithm("broadcast", name="binomial", reference=THAKUR)
def broadcast(b: Builder) -> None:
    """Binomial tree: the number of ranks that have the vector doubles in each of ceil(log2 p) steps."""
    b.chunks(1)
    tree_broadcast(b, line_from(range(b.size), b.root), [0])


@algorithm("reduce", name="binomial", reference=THAKUR)
def reduce(b: Builder) -> None:
    """Binomial tree towards the root, ceil(log2 p) steps; in rank order if the root is rank 0."""
    b.chunks(1)
    tree_reduce(b, line_from(range(b.size), b.root), [0])


@algorithm("gather", name="binomial", reference=THAKUR)
def gather(b: Builder) -> None:
    """Binomial tree towards the root: every rank hands on the chunks of its subtree."""
    line = line_from(range(b.size), b.root)
    me, distance = line.index(b.rank), 1
    while distance < _reach(me, b.size):
        if me + distance < b.size:
            b.recv(chunk=line[me + distance : me + 2 * distance], source=line[me + distance])
        distance *= 2
    if me:
        b.send(chunk=line[me : me + distance], dest=line[me - distance])


@algorithm("scatter", name="binomial", reference=THAKUR)
def scatter(b: Builder) -> None:
    """Binomial tree from the root: every rank receives the chunks of its subtree and hands on those of its children."""
    line = line_from(range(b.size), b.root)
    me = line.index(b.rank)
    reach = _reach(me, b.size)
    if me:
        b.recv(chunk=line[me : me + reach], source=line[me - reach])
    while reach > 1:
        reach //= 2
        if me + reach < b.size:
            b.send(chunk=line[me + reach : me + 2 * reach], dest=line[me + reach])


@algorithm("broadcast", name="scatter_all_gather", reference=THAKUR)
def broadcast_scatter_all_gather(b: Builder) -> None:
    """Binomial scatter of p chunks, then ring all_gather, leaving out what the scatter has already brought.

    For long vectors: 2(p-1)/p of the vector instead of log2(p) times all of it.
    """
    scatter(b)
    p = b.size
    line = line_from(range(p), b.root)
    me = line.index(b.rank)
    right, left = (me + 1) % p, (me - 1) % p
    for k in range(p - 1):
        out, into = (me - k) % p, (left - k) % p
        if not right <= out < right + _reach(right, p):
            b.send(chunk=line[out], dest=line[right])
        if not me <= into < me + _reach(me, p):
            b.recv(chunk=line[into], source=line[left])
