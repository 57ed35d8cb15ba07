"""Small traces for tests of the replay."""

from __future__ import annotations

from hypothesis import strategies as st

from pyccl.sim.recorder import Recorder
from pyccl.sim.trace import COLLECTIVE_NAMES, Group, Kind, Trace

WORLD = Group(name="world")


def trace_of(*ranks: Recorder, groups: tuple[Group, ...] = (WORLD,)) -> Trace:
    return Trace(tuple(rank.finish() for rank in ranks), len(ranks), groups)


def collective(size: int, name: str, nbytes: int, root: int = -1, begins: tuple[float, ...] = ()) -> Trace:
    """Every rank computes for a while, then all meet once."""
    ranks = [Recorder() for _ in range(size)]
    for r, rank in enumerate(ranks):
        if begins:
            rank.after(1, rank.add(Kind.COMP, duration=begins[r]))
        rank.add(Kind.COLL, nbytes, root, collective=COLLECTIVE_NAMES.index(name), group=0)
    return trace_of(*ranks)


def message(source: Recorder, dest: Recorder, ends: tuple[int, int], nbytes: int, tag: int = 0) -> tuple[int, int]:
    """Add a send and its recv; `ends` are the two ranks."""
    return source.add(Kind.SEND, nbytes, ends[1], tag), dest.add(Kind.RECV, nbytes, ends[0], tag)


@st.composite
def sound_traces(draw: st.DrawFn) -> Trace:
    """Work that can end: messages without bytes, measured collectives, each computing node on a lane of its own."""
    size = draw(st.integers(1, 4))
    ranks, counts = [Recorder() for _ in range(size)], [0] * size
    seconds = st.integers(1, 50).map(lambda n: n * 1e-7)

    def note(rank: int) -> None:
        node, earlier = counts[rank], counts[rank]
        counts[rank] += 1
        for other in draw(st.sets(st.integers(0, earlier - 1), max_size=2)) if earlier else ():
            ranks[rank].after(node, other, draw(st.booleans()))

    for _ in range(draw(st.integers(1, 15))):
        kind = draw(st.sampled_from([Kind.COMP, Kind.MEM, Kind.COLL] + [Kind.SEND] * 3 * (size > 1)))
        rank = draw(st.integers(0, size - 1))
        if kind == Kind.SEND:
            other = (rank + draw(st.integers(1, size - 1))) % size
            message(ranks[rank], ranks[other], (rank, other), 0, draw(st.integers(0, 1)))
            note(rank)
            note(other)
        elif kind == Kind.COLL:
            for one in range(size):
                ranks[one].add(kind, 8, duration=draw(seconds), collective=0, group=0)
                note(one)
        else:
            ranks[rank].add(kind, duration=draw(seconds), lane=counts[rank])
            note(rank)
    return trace_of(*ranks)
