"""Markdown tables of what compare.py measured: times, the best of each size, and ratios taken within a round."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Any

Rows = list[dict[str, Any]]


def size_name(nbytes: int) -> str:
    """Return `nbytes` with a binary unit."""
    if nbytes >= 1 << 20:
        return f"{nbytes >> 20} MiB"
    return f"{nbytes >> 10} KiB" if nbytes >= 1 << 10 else f"{nbytes} B"


def microseconds(seconds: float) -> str:
    """Return `seconds` in microseconds, three digits or more."""
    value = seconds * 1e6
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def line(*cells: str) -> str:
    """Return one line of a table."""
    return "| " + " | ".join(cells) + " |"


def report(document: dict[str, Any], against: str) -> str:
    """Return all tables; `against` is the peer that the ratios are of (other / it: above 1 it is faster)."""
    groups: dict[tuple[Any, ...], Rows] = defaultdict(list)
    for row in document["rows"]:
        groups[row["collective"], row["in_place"], row["dtype"], row["ranks"]].append(row)
    e = document["environment"]
    parts = [f"{e['cpu']}, {e['cores']} cores, Linux {e['kernel']}, {e['date']}: medians over the rounds, in us"]
    for (collective, in_place, dtype, ranks), rows in groups.items():
        place = ", in place" if in_place else ""
        parts.append(f"\n#### {collective} {dtype}{place}, {ranks} ranks\n\n" + "\n".join(table(rows, against)))
    return "\n".join(parts)


def table(rows: Rows, against: str) -> list[str]:
    """Return the lines of one table: a peer a line, then the ratios."""
    peers = list(dict.fromkeys(row["peer"] for row in rows))
    sizes = sorted({row["bytes"] for row in rows})
    rounds: dict[tuple[str, int], dict[int, float]] = defaultdict(dict)
    for row in rows:
        rounds[row["peer"], row["bytes"]][row["round"]] = row["time_s"]
    medians = {key: statistics.median(times.values()) for key, times in rounds.items()}
    best = {n: min(medians[peer, n] for peer in peers if (peer, n) in medians) for n in sizes}
    lines = [line("peer", *map(size_name, sizes)), line(*["---"] * (len(sizes) + 1))]
    for peer in peers:
        cells = []
        for n in sizes:
            value = medians.get((peer, n))
            text = "–" if value is None else microseconds(value)
            cells.append(f"**{text}**" if value == best[n] else text)
        lines.append(line(peer, *cells))
    lines += [
        line(f"{peer} / {against}", *(ratio(rounds[peer, n], rounds[against, n]) for n in sizes))
        for peer in peers
        if peer != against and against in peers
    ]
    spreads = [max(times.values()) / min(times.values()) for times in rounds.values() if len(times) > 1]
    if spreads:
        lines.append(f"\nslowest over fastest round: median {statistics.median(spreads):.2f}, worst {max(spreads):.2f}")
    return lines


def ratio(other: dict[int, float], own: dict[int, float]) -> str:
    """Return the median over the rounds that both finished of other / own."""
    shared = [other[number] / own[number] for number in other if number in own]
    return f"{statistics.median(shared):.3g}x" if shared else "–"
