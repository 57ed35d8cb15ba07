"""Write docs/generated/algorithms.md: every algorithm with its measured steps and bytes and its closed form."""

from __future__ import annotations

from pathlib import Path

from pyccl.algorithms import Algorithm, algorithms, build, get_algorithm
from pyccl.collectives import COLLECTIVES
from pyccl.cost import COSTS, schedule_bytes
from pyccl.schedule import Schedule, verify

RANKS = 8
TARGET = Path(__file__).parent / "generated" / "algorithms.md"
HEAD = f"""# Algorithms

p ranks, n bytes of the large side, α seconds per message, β seconds per byte sent, γ seconds per byte combined; q is
the largest power of two up to p, [p≠q] is 1 where p is no power of two. *Messages* and *sent* are counted on the
verified schedule of {RANKS} ranks (two nodes for hierarchical): the most that one rank sends, the bytes as a part
of n. *Operands*: "one pass in rank order" gives the bits of the direct algorithm, "rank order" serves every associative
operation, "any order" needs a commutative one.
"""


def order_of(entry: Algorithm) -> str:
    """Return what the algorithm promises on the order of operands."""
    if not COLLECTIVES[entry.collective].reduces or entry.collective == "barrier":
        return "-"
    if entry.order == "rank":
        return "one pass in rank order"
    return "any order" if entry.commutative_only else "rank order"


def messages(schedule: Schedule) -> int:
    """Return the most messages that one rank sends; successive chunks to the same ranks are one message."""
    most = 0
    for steps in schedule.steps:
        before = [None, *steps[:-1]]
        runs = [s for s, b in zip(steps, before, strict=True) if b is None or (b.kind, b.peers) != (s.kind, s.peers)]
        most = max(most, sum(len(step.peers) for step in runs if step.kind == 0))
    return most


def line(entry: Algorithm) -> str:
    """Return the table row of one algorithm."""
    nodes = [r * 2 // RANKS for r in range(RANKS)] if entry.name == "hierarchical" else None
    schedule = build(entry.collective, entry.name, RANKS, nodes=nodes)
    verify(schedule)
    counts = schedule.row.chunk_counts(RANKS * RANKS, RANKS, schedule.nchunks)
    sent = max(schedule_bytes(schedule, counts)) / RANKS**2
    cost = COSTS.get((entry.collective, entry.name))
    sizes = "any" if entry.sizes is None else "powers of two"
    form = str(cost) if cost else "two levels, see `pyccl.cost`"
    cells = (entry.name, sizes, messages(schedule), f"{sent:g} n", form, order_of(entry), entry.reference or "-")
    return f"| {' | '.join(map(str, cells))} |"


def page() -> str:
    """Return the page as Markdown."""
    parts = [HEAD]
    for collective in COLLECTIVES:
        parts.append(f"## {collective}\n")
        parts.append("| algorithm | ranks | messages | sent | cost | operands | reference |")
        parts.append("|---|---|---|---|---|---|---|")
        parts.extend(line(get_algorithm(collective, name)) for name in algorithms(collective))
        parts.append("")
    return "\n".join(parts)


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(page(), encoding="utf-8")
