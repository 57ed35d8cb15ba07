"""Direct algorithms: everybody talks to whom it concerns, and sums are one n-ary pass in rank order.

On shared memory a message to many is one publish, so these are the fastest inside a node.
"""

from __future__ import annotations

from pyccl.algorithms.registry import algorithm
from pyccl.schedule import Builder


@algorithm("barrier", name="one_shot", order="rank", commutative_only=False, symmetric=True)
@algorithm("all_reduce", name="one_shot", order="rank", commutative_only=False, symmetric=True)
def all_reduce_one_shot(b: Builder) -> None:
    """Everybody sends everything to everybody: 1 step, (p-1)n bytes sent, for short vectors."""
    b.chunks(1)
    b.send(chunk=0, dest=b.others)
    b.recv_reduce(chunk=0, source=b.others)


@algorithm("all_reduce", name="two_shot", order="rank", commutative_only=False, symmetric=True)
def all_reduce_two_shot(b: Builder) -> None:
    """Direct reduce_scatter then direct all_gather: 2 steps, 2(p-1)/p n bytes sent."""
    reduce_scatter(b)
    all_gather(b)


@algorithm("reduce_scatter", name="direct", order="rank", commutative_only=False, symmetric=True)
def reduce_scatter(b: Builder) -> None:
    """Rank r receives everybody's chunk r and combines them in one pass."""
    for q in b.others:
        b.send(chunk=q, dest=q)
    b.recv_reduce(chunk=b.rank, source=b.others)


@algorithm("all_gather", name="direct", symmetric=True)
def all_gather(b: Builder) -> None:
    """Rank r sends chunk r to everybody."""
    b.send(chunk=b.rank, dest=b.others)
    for q in reversed(b.others):
        b.recv(chunk=q, source=q)


@algorithm("broadcast", name="direct")
def broadcast(b: Builder) -> None:
    """The root sends everything to everybody."""
    b.chunks(1)
    if b.rank == b.root:
        b.send(chunk=0, dest=b.others)
    else:
        b.recv(chunk=0, source=b.root)


@algorithm("reduce", name="direct", order="rank", commutative_only=False)
def reduce(b: Builder) -> None:
    """The root receives everything from everybody and combines it in one pass."""
    b.chunks(1)
    if b.rank == b.root:
        b.recv_reduce(chunk=0, source=b.others)
    else:
        b.send(chunk=0, dest=b.root)


@algorithm("reduce", name="scatter_reduce", order="rank", commutative_only=False)
def reduce_scatter_gather(b: Builder) -> None:
    """Direct reduce_scatter then gather to the root: the combining is shared by all ranks."""
    reduce_scatter(b)
    gather(b)


@algorithm("gather", name="direct")
def gather(b: Builder) -> None:
    """Everybody sends its chunk to the root."""
    if b.rank != b.root:
        b.send(chunk=b.rank, dest=b.root)
        return
    for q in b.others:
        b.recv(chunk=q, source=q)


@algorithm("scatter", name="direct")
def scatter(b: Builder) -> None:
    """The root sends everybody its chunk."""
    if b.rank != b.root:
        b.recv(chunk=b.rank, source=b.root)
        return
    for q in b.others:
        b.send(chunk=q, dest=q)


@algorithm("all_to_all", name="direct", symmetric=True)
def all_to_all(b: Builder) -> None:
    """Everybody sends everybody its chunk, all at once."""
    p, r = b.size, b.rank
    for q in b.others:
        b.send(chunk=r * p + q, dest=q)
    for q in reversed(b.others):
        b.recv(chunk=q * p + r, source=q)
