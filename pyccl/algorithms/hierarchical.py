"""Two levels: inside a node everybody talks to everybody, between nodes as few bytes as possible.

With as many ranks on every node, each local index has a ring or exchange of its own between the nodes (so all
ranks drive the network); otherwise one leader per node speaks for it, and in all_reduce as many ranks as the smallest
node has. With one node they are the direct algorithms.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyccl.algorithms.registry import algorithm
from pyccl.algorithms.rings import Ring, arrange
from pyccl.algorithms.tree import line_from, tree_broadcast
from pyccl.schedule import Builder

Parts = Sequence[Sequence[int]]


def _is_even(b: Builder) -> bool:
    return len({len(group) for group in b.groups}) == 1


def _column(b: Builder) -> list[int]:
    """Return the ranks with my local index, one per node."""
    index = b.local_ranks.index(b.rank)
    return [group[index] for group in b.groups]


def _columns(b: Builder) -> list[list[int]]:
    return [[group[i] for group in b.groups] for i in range(len(b.local_ranks))]


def _but_me(b: Builder, ranks: Sequence[int]) -> list[int]:
    return [q for q in ranks if q != b.rank]


def _right_of(me: int, length: int) -> list[int]:
    """Return all places but mine, beginning to my right, so that no two send to one rank at a time."""
    return [(me + k) % length for k in range(1, length)]


def _reduce_scatter(b: Builder, ranks: Sequence[int], parts: Parts) -> None:
    """Direct reduce_scatter among `ranks`: the i-th of them ends with ``parts[i]``, if there are so many."""
    me = ranks.index(b.rank)
    for i in _right_of(me, len(ranks)):
        if i < len(parts):
            b.send(chunk=parts[i], dest=ranks[i])
    if me < len(parts):
        b.recv_reduce(chunk=parts[me], source=_but_me(b, ranks))


def _all_gather(b: Builder, ranks: Sequence[int], parts: Parts) -> None:
    """Direct all_gather among `ranks`: the i-th of them starts with ``parts[i]``, if there are so many."""
    me = ranks.index(b.rank)
    if me < len(parts):
        b.send(chunk=parts[me], dest=_but_me(b, ranks))
    for i in reversed(_right_of(me, len(ranks))):
        if i < len(parts):
            b.recv(chunk=parts[i], source=ranks[i])


def _ring_all_reduce(b: Builder, ranks: Sequence[int], chunks: Sequence[int]) -> None:
    """Ring all_reduce among `ranks` of as many `chunks`."""
    p, r = len(ranks), ranks.index(b.rank)
    right, left = ranks[(r + 1) % p], ranks[(r - 1) % p]
    for k in range(p - 1):
        b.send(chunk=chunks[(r - k) % p], dest=right)
        b.recv_reduce(chunk=chunks[(r - k - 1) % p], source=left)
    for k in range(p - 1):
        b.send(chunk=chunks[(r + 1 - k) % p], dest=right)
        b.recv(chunk=chunks[(r - k) % p], source=left)


def _reduce_to(b: Builder, ranks: Sequence[int], leader: int, chunks: Sequence[int]) -> None:
    """Direct reduce of `chunks` among `ranks`."""
    if b.rank == leader:
        b.recv_reduce(chunk=chunks, source=_but_me(b, ranks))
    elif b.rank in ranks:
        b.send(chunk=chunks, dest=leader)


def _broadcast_from(b: Builder, ranks: Sequence[int], leader: int, chunks: Sequence[int]) -> None:
    """Direct broadcast of `chunks` among `ranks`."""
    if b.rank == leader:
        b.send(chunk=chunks, dest=_but_me(b, ranks))
    else:
        b.recv(chunk=chunks, source=leader)


def _leaders(b: Builder) -> list[int]:
    """Return the lowest rank of every node, on the root's node the root."""
    return [b.root if b.root in group else group[0] for group in b.groups]


@algorithm("all_reduce", name="hierarchical")
def all_reduce(b: Builder) -> None:
    """Reduce_scatter within the node, ring between the nodes, all_gather within the node.

    A node with a slow link stands aside: it hands its sums to a node of the ring, which returns the results.
    """
    local, ring = b.local_ranks, arrange(b.links)
    columns, n = min(len(group) for group in b.groups), len(ring.members)
    b.chunks(columns * n)
    parts = [range(i * n, (i + 1) * n) for i in range(columns)]
    _reduce_scatter(b, local, parts)
    me = local.index(b.rank)
    if me < columns:
        _between_nodes(b, ring, [group[me] for group in b.groups], parts[me])
    _all_gather(b, local, parts)


def _between_nodes(b: Builder, ring: Ring, column: Sequence[int], chunks: Sequence[int]) -> None:
    """Ring all_reduce of one rank per node, `column`; those aside send to their proxy first and receive last."""
    members = [column[node] for node in ring.members]
    proxies = [(column[aside], column[member]) for aside, member in ring.proxies]
    for aside, member in proxies:
        if b.rank == aside:
            b.send(chunk=chunks, dest=member)
    spoken_for = [aside for aside, member in proxies if member == b.rank]
    b.recv_reduce(chunk=chunks, source=spoken_for)
    if b.rank in members:
        _ring_all_reduce(b, members, chunks)
    b.send(chunk=chunks, dest=spoken_for)
    for aside, member in proxies:
        if b.rank == aside:
            b.recv(chunk=chunks, source=member)


@algorithm("reduce_scatter", name="hierarchical")
def reduce_scatter(b: Builder) -> None:
    """Reduce_scatter within the node, then between the nodes among the ranks of one local index.

    Uneven nodes: reduce to a leader, reduce_scatter of the leaders, scatter within the node.
    """
    if _is_even(b):
        column = _column(b)
        _reduce_scatter(b, b.local_ranks, _columns(b))
        _reduce_scatter(b, column, [[q] for q in column])
        return
    leaders = _leaders(b)
    leader = leaders[b.node]
    _reduce_to(b, b.local_ranks, leader, range(b.size))
    if b.rank != leader:
        b.recv(chunk=b.rank, source=leader)
        return
    _reduce_scatter(b, leaders, b.groups)
    for q in _but_me(b, b.local_ranks):
        b.send(chunk=q, dest=q)


@algorithm("all_gather", name="hierarchical")
def all_gather(b: Builder) -> None:
    """All_gather between the nodes among the ranks of one local index, then within the node.

    Uneven nodes: all_gather within the node, then of the leaders, then broadcast of what came from other nodes.
    """
    local = b.local_ranks
    if _is_even(b):
        column = _column(b)
        _all_gather(b, column, [[q] for q in column])
        _all_gather(b, local, _columns(b))
        return
    leaders = _leaders(b)
    leader = leaders[b.node]
    _all_gather(b, local, [[q] for q in local])
    if b.rank == leader:
        _all_gather(b, leaders, b.groups)
    _broadcast_from(b, local, leader, [q for q in range(b.size) if q not in local])


@algorithm("broadcast", name="hierarchical")
def broadcast(b: Builder) -> None:
    """Binomial tree between one rank of each node, then direct within the nodes."""
    b.chunks(1)
    leaders = _leaders(b)
    leader = leaders[b.node]
    if b.rank == leader:
        tree_broadcast(b, line_from(leaders, b.root), [0])
    _broadcast_from(b, b.local_ranks, leader, [0])


@algorithm("reduce", name="hierarchical")
def reduce(b: Builder) -> None:
    """Reduce_scatter within the node, reduce between the nodes by local index, gather to the root.

    Uneven nodes: reduce to a leader, then from the leaders to the root.
    """
    local, leaders = b.local_ranks, _leaders(b)
    if not _is_even(b):
        b.chunks(1)
        _reduce_to(b, local, leaders[b.node], [0])
        _reduce_to(b, leaders, b.root, [0])
        return
    b.chunks(len(local))
    parts = [[i] for i in range(len(local))]
    mine = parts[local.index(b.rank)]
    home = next(group for group in b.groups if b.root in group)
    _reduce_scatter(b, local, parts)
    _reduce_to(b, _column(b), home[mine[0]], mine)
    if b.rank == b.root:
        for q, part in zip(home, parts, strict=True):
            if q != b.rank:
                b.recv(chunk=part, source=q)
    elif b.rank in home:
        b.send(chunk=mine, dest=b.root)
