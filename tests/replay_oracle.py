"""A trace replayed with constant costs, as plainly as possible: what the engine's replay is compared with."""

from __future__ import annotations

from collections import defaultdict

from pyccl.sim.trace import Kind, Trace


def replay(trace: Trace, alpha: float = 0.0, beta: float = 0.0) -> list[list[float]]:
    """Return when every node ends, per rank.

    A send takes ``alpha + beta · bytes`` and its recv ends no sooner; a collective begins when all its members have
    come and takes its duration, else ``alpha + beta · bytes``. Nothing else takes turns: lanes are not looked at.
    """
    nodes = {(rank, i): node for rank in range(trace.size) for i, node in enumerate(trace.nodes(rank))}
    sends: dict[tuple[int, int, int], list[tuple[int, int]]] = defaultdict(list)
    recvs: dict[tuple[int, int, int], list[tuple[int, int]]] = defaultdict(list)
    meetings: dict[tuple[object, int, int], list[tuple[int, int]]] = defaultdict(list)
    calls: dict[tuple[int, int], int] = defaultdict(int)
    for (rank, i), node in nodes.items():
        if node.kind == Kind.SEND:
            sends[rank, node.peer, node.tag].append((rank, i))
        elif node.kind == Kind.RECV:
            recvs[node.peer, rank, node.tag].append((rank, i))
        elif node.kind == Kind.COLL:
            members = tuple(trace.members(rank, node.group))
            meetings[members, node.group, calls[rank, node.group]].append((rank, i))
            calls[rank, node.group] += 1
    message = {recv: send for key, mine in recvs.items() for recv, send in zip(mine, sends[key], strict=True)}
    together = {place: places for places in meetings.values() for place in places}
    begin: dict[tuple[int, int], float] = {}
    end: dict[tuple[int, int], float] = {}

    def cost(place: tuple[int, int]) -> float:
        node = nodes[place]
        return node.duration or (alpha + beta * node.nbytes if node.kind in (Kind.SEND, Kind.COLL) else 0.0)

    left = set(nodes)
    while left:
        ready = [p for p in left if all((p[0], d) in end for d in nodes[p].after)
                 and all((p[0], d) in begin for d in nodes[p].begun)]  # fmt: skip
        moved = False
        for place in ready:
            node = nodes[place]
            if place not in begin:
                begin[place] = max(
                    [end[place[0], d] for d in node.after] + [begin[place[0], d] for d in node.begun] + [0.0]
                )
                moved = True
            others = together.get(place, [place])
            if any(other not in begin for other in others) or (place in message and message[place] not in end):
                continue
            start = max(begin[other] for other in others)
            end[place] = max(start + cost(place), end[message[place]] if place in message else 0.0)
            left.discard(place)
            moved = True
        assert moved, f"deadlock: {sorted(left)[:5]}"
    return [[end[rank, i] for i in range(len(trace.of(rank)))] for rank in range(trace.size)]
