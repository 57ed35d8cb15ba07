"""Dependencies are enough to run in any order; the listing and the timeline show what stands."""

from __future__ import annotations

import json
import runpy
from collections import defaultdict
from functools import reduce
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest

from pyccl.algorithms import algorithms, build, get_algorithm
from pyccl.collectives import COLLECTIVES, split
from pyccl.schedule import Builder, Kind, Schedule, record
from tests.oracle import Array, expected, make_inputs

RING = build("all_reduce", "ring", 3)


def test_dependencies_are_the_hazards() -> None:
    def touch(b: Builder) -> None:
        b.send(chunk=0, dest=1)
        b.send(chunk=0, dest=2)
        b.recv(chunk=0, source=1)  # write after both reads
        b.recv(chunk=0, source=2)  # write after write
        b.recv_reduce(chunk=1, source=1)
        b.reduce(chunk=1, source_chunk=0)  # reads both
        b.copy(chunk=0, source_chunk=1)  # write after read by the step before, and read after its write
        b.send(chunk=2, dest=1)

    schedule = record(touch, "all_reduce", 3)
    assert schedule.dependencies(0) == ((), (), (0, 1), (2,), (), (3, 4), (5,), ())


def message_numbers(schedule: Schedule) -> list[list[dict[int, int]]]:
    """Return, per rank and step, the number of the message to or from each peer: messages match in program order."""
    numbers: list[list[dict[int, int]]] = []
    for steps in schedule.steps:
        counts: dict[tuple[bool, int], int] = defaultdict(int)
        numbers.append([])
        for step in steps:
            sends = step.kind == Kind.SEND
            numbers[-1].append({peer: counts[sends, peer] for peer in step.peers})
            for peer in step.peers:
                counts[sends, peer] += 1
    return numbers


def run_in_any_order(schedule: Schedule, held: list[dict[int, Array]], random: Random) -> None:
    """Execute steps in a random order that respects nothing but `dependencies` and the messages."""
    numbers, mail = message_numbers(schedule), {}
    waits = [schedule.dependencies(rank) for rank in range(schedule.size)]
    done: list[set[int]] = [set() for _ in range(schedule.size)]
    left = [(rank, index) for rank, steps in enumerate(schedule.steps) for index in range(len(steps))]
    while left:
        random.shuffle(left)
        later = []
        for rank, index in left:
            kind, chunk, _, peers = schedule.steps[rank][index]
            mine = numbers[rank][index]
            arrived = kind == Kind.SEND or all((p, rank, mine[p]) in mail for p in peers)
            if not arrived or not done[rank].issuperset(waits[rank][index]):
                later.append((rank, index))
                continue
            done[rank].add(index)
            if kind == Kind.SEND:
                mail.update({(rank, p, mine[p]): held[rank][chunk] for p in peers})
            elif kind == Kind.RECV:
                held[rank][chunk] = mail[peers[0], rank, mine[peers[0]]]
            else:
                operands = {rank: held[rank][chunk], **{p: mail[p, rank, mine[p]] for p in peers}}
                held[rank][chunk] = reduce(np.add, [operands[r] for r in sorted(operands)])
        assert len(later) < len(left)
        left = later


@pytest.mark.parametrize(("name", "algorithm"), [(c, a) for c in COLLECTIVES for a in algorithms(c) if c != "barrier"])
def test_any_order_that_dependencies_allow_computes_the_collective(name: str, algorithm: str) -> None:
    random = Random(3)
    for size in filter(get_algorithm(name, algorithm).serves, (2, 3, 4, 6)):
        schedule = build(name, algorithm, size, size // 2, [r // 2 for r in range(size)])
        count = 2 * schedule.nchunks
        per_rank = [2] * (size * size) if name == "all_to_all" else split(count, size)
        inputs = make_inputs(name, size, per_rank, count, schedule.root)
        want = expected(name, inputs, schedule.root, per_rank)
        for _ in range(5):
            held = [
                dict(zip(schedule.initial(r), np.split(x, len(schedule.initial(r)) or 1), strict=False))
                for r, x in enumerate(inputs)
            ]
            run_in_any_order(schedule, held, random)
            for rank, output in enumerate(want):
                got = [held[rank][c] for c in schedule.final(rank)]
                np.testing.assert_array_equal(np.concatenate([output[:0], *got]), output)


def test_text_lists_every_step() -> None:
    text = RING.text()
    assert text.startswith("<Schedule all_reduce/ring, 3 ranks, 3 chunks, 24 steps>\nrank 0\n")
    assert "3  recv_reduce chunk 1 from 2\n" in text
    assert "4  send chunk 1 to 1   after 3\n" in text


def test_chrome_trace_is_json_in_virtual_time() -> None:
    events = build("all_reduce", "ring", 8).chrome_trace(alpha=5e-6, beta=1e-10, nbytes=64_000_000)
    json.dumps(events)
    assert max(e["ts"] + e["dur"] for e in events) == pytest.approx(11270.0)
    lanes = {(e["pid"], e["tid"]) for e in events}
    for lane in lanes:  # viewers draw events of one lane one after the other
        spans = [(e["ts"], e["ts"] + e["dur"]) for e in events if (e["pid"], e["tid"]) == lane]
        assert all(a[1] <= b[0] + 1e-6 for a, b in pairwise(spans))
    assert {e["pid"] for e in events} == set(range(8))
    assert {e["ph"] for e in events} == {"X"}


def test_documentation_table_has_every_algorithm() -> None:
    generator = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "generate_algorithms.py"))
    page: str = generator["page"]()
    for name in COLLECTIVES:
        section = page.split(f"## {name}\n")[1].split("\n## ")[0]
        assert [line.split(" | ")[0] for line in section.splitlines()[3:] if line] == [
            f"| {algorithm}" for algorithm in algorithms(name)
        ]
