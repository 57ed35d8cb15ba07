"""The verifier finds what is wrong and says where; the views show what stands."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyccl.algorithms.registry
import pyccl.collectives
import pyccl.cost
from pyccl.algorithms import algorithms, build, get_algorithm
from pyccl.collectives import COLLECTIVES, chunk_range, split
from pyccl.schedule import Builder, Kind, Schedule, Step, VerificationError, decode, encode, interpret, record, verify
from tests.oracle import expected, make_inputs

Steps = list[Step]


def edited(schedule: Schedule, rank: int, edit: Callable[[Steps], object]) -> Schedule:
    """Return `schedule` with one rank's steps changed in place by `edit`."""
    steps = [list(s) for s in schedule.steps]
    edit(steps[rank])
    return replace(schedule, tables=tuple(map(encode, steps)))


def change(index: int, **fields: object) -> Callable[[Steps], object]:
    """Return an edit that replaces fields of one step."""

    def edit(steps: Steps) -> None:
        steps[index] = steps[index]._replace(**fields)  # type: ignore[arg-type]

    return edit


def swap(i: int, j: int) -> Callable[[Steps], object]:
    """Return an edit that exchanges two steps."""

    def edit(steps: Steps) -> None:
        steps[i], steps[j] = steps[j], steps[i]

    return edit


RING = build("all_reduce", "ring", 3)
TWO_SHOT = build("all_reduce", "two_shot", 3)

FAULTS = {
    "dropped send": (
        edited(RING, 1, lambda s: s.pop(6)),
        (
            r"unmatched recv: rank 2 step 7 \(recv chunk 1 from 1\) is never sent "
            r"\(rank 1 sends 3 messages to rank 2, which receives 4\)"
        ),
    ),
    "dropped send in the middle": (
        edited(RING, 1, lambda s: s.pop(2)),
        r"mismatched message: rank 1 step 3 \(send chunk 2 to 2\) meets rank 2 step 3 \(recv_reduce chunk 0 from 1\)",
    ),
    "duplicated recv_reduce": (
        edited(RING, 0, lambda s: s.append(s[3])),
        r"unmatched recv: rank 0 step 8 \(recv_reduce chunk 1 from 2\) is never sent",
    ),
    "superfluous send": (
        edited(RING, 0, lambda s: s.append(s[0])),
        r"unmatched send: rank 0 step 8 \(send chunk 0 to 1\) is never received",
    ),
    "swapped chunk": (
        edited(RING, 2, change(4, chunk=1)),
        r"mismatched message: rank 2 step 4 \(send chunk 1 to 0\) meets rank 0 step 5 \(recv chunk 0 from 2\)",
    ),
    "chunk outside": (edited(RING, 0, change(1, chunk=3)), r"rank 0 step 1 .* is outside the 3 chunks"),
    "negative chunk": (edited(RING, 0, change(0, chunk=-1)), r"rank 0 step 0 .* is outside the 3 chunks"),
    "message to itself": (edited(RING, 0, change(0, peers=(0,))), r"rank 0 step 0 .* is a message to itself"),
    "no such rank": (edited(RING, 0, change(0, peers=(3,))), r"rank 0 step 0 .* names a rank outside \[0, 3\)"),
    "peer twice": (edited(TWO_SHOT, 0, change(2, peers=(1, 1))), r"rank 0 step 2 .* names a rank twice"),
    "late": (
        edited(TWO_SHOT, 1, swap(2, 3)),
        (
            r"late contribution: rank 0 chunk 1 ends without ranks 0, 2, which reached rank 1 only after it had sent "
            r"what rank 0 step \d \(recv chunk 1 from 1\) receives"
        ),
    ),
    "missing": (
        edited(edited(TWO_SHOT, 0, lambda s: s.pop(0)), 1, change(2, peers=(2,))),
        r"missing contribution: rank 0 chunk 1 ends without rank 0",
    ),
    "double": (
        edited(RING, 0, change(5, kind=2)),
        r"double contribution: rank 0 step 5 \(recv_reduce chunk 0 from 2\) adds rank 0 twice",
    ),
    "overwritten": (
        edited(TWO_SHOT, 0, lambda s: s.append(Step(3, 0, 1, ()))),
        r"foreign contribution: rank 0 ends with chunk 1 in the place of chunk 0",
    ),
    "mixed": (
        edited(TWO_SHOT, 0, lambda s: s.insert(0, Step(4, 0, 1, ()))),
        r"foreign contribution: rank 0 step 0 \(reduce chunk 0 from chunk 1\) mixes chunks 0 and 1",
    ),
    "never held": (
        edited(build("all_gather", "ring", 3), 0, swap(1, 2)),
        r"rank 0 step 1 \(send chunk 2 to 1\) reads chunk 2, which it never held",
    ),
    "recv from two": (
        edited(build("all_gather", "direct", 3), 0, change(1, peers=(1, 2))),
        r"rank 0 step 1 .* has peers or a source chunk that its kind has not",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_named(fault: str) -> None:
    schedule, message = FAULTS[fault]
    with pytest.raises(VerificationError, match=message):
        verify(schedule)


def test_wrong_result_without_wrong_messages() -> None:
    with pytest.raises(VerificationError, match="missing contribution: rank 0 chunk 0 ends without rank 1"):
        verify(record(lambda b: None, "all_reduce", 2))
    with pytest.raises(VerificationError, match="missing chunk: rank 0 ends without chunk 1"):
        verify(record(lambda b: None, "all_gather", 2))


def test_deadlock_names_its_cycle() -> None:
    schedule = RING
    for rank in range(3):
        schedule = edited(schedule, rank, swap(2, 3))
        schedule = edited(schedule, rank, swap(0, 1))
    # chunks of the messages still match: every rank now waits for its left neighbour before it sends
    with pytest.raises(VerificationError, match="deadlock") as error:
        verify(schedule)
    links = str(error.value).split(": ", 2)[2].split(" -> ")
    assert [link.split(" (")[0] for link in links] == [f"rank {r} step 0" for r in (0, 2, 1, 0)]


def test_deadlock_cycle_leaves_out_those_who_only_wait() -> None:
    def crossed(b: Builder) -> None:
        b.chunks(1)
        if b.rank == 0:
            b.recv_reduce(chunk=0, source=1)
        else:
            peer = 3 - b.rank
            b.recv_reduce(chunk=0, source=peer)
            b.send(chunk=0, dest=peer)
            if b.rank == 1:
                b.send(chunk=0, dest=0)

    with pytest.raises(VerificationError, match=r"deadlock.*: rank 1 step 0 .* -> rank 2 step 0 .* -> rank 1 step 0"):
        verify(record(crossed, "all_reduce", 3))


@pytest.mark.parametrize("words", [[0], [0, 0, -1, 5, 1], [0, 0, -1, -9], [9, 0, -1, 0], [0, 0, -1]])
def test_malformed_table_is_refused(words: list[int]) -> None:
    with pytest.raises(VerificationError, match="malformed table"):
        verify(replace(RING, tables=(np.array(words, np.int32), *RING.tables[1:])))


MUTABLE = [(c, a) for c in COLLECTIVES for a in algorithms(c) if c != "barrier"]


def mutate(data: st.DataObject, steps: Steps, size: int, nchunks: int) -> None:
    """Spoil one rank's steps in one random way."""
    draw = data.draw
    index = draw(st.integers(0, len(steps) - 1))
    how = draw(st.sampled_from(["drop", "repeat", "swap", "chunk", "peers", "kind", "insert"]))
    if how == "drop":
        steps.pop(index)
    elif how == "repeat":
        steps.insert(index, steps[index])
    elif how == "swap":
        swap(index, draw(st.integers(0, len(steps) - 1)))(steps)
    elif how == "chunk":
        steps[index] = steps[index]._replace(chunk=draw(st.integers(0, nchunks - 1)))
    elif how == "peers":
        peers = draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=2))
        steps[index] = steps[index]._replace(peers=tuple(peers))
    elif how == "kind":
        steps[index] = steps[index]._replace(kind=draw(st.sampled_from(list(Kind))))
    else:
        chunks = st.integers(0, nchunks - 1)
        kind = draw(st.sampled_from([Kind.COPY, Kind.REDUCE]))
        steps.insert(index, Step(kind, draw(chunks), draw(chunks), ()))


@given(st.data())
@settings(max_examples=600, deadline=None)
def test_what_passes_verify_computes_the_collective(data: st.DataObject) -> None:
    name, algorithm = data.draw(st.sampled_from(MUTABLE))
    size = data.draw(st.sampled_from([s for s in range(2, 7) if get_algorithm(name, algorithm).serves(s)]))
    root = data.draw(st.integers(0, size - 1)) if COLLECTIVES[name].rooted else 0
    schedule = build(name, algorithm, size, root)
    for _ in range(data.draw(st.integers(1, 3))):
        rank = data.draw(st.integers(0, size - 1))
        if schedule.steps[rank]:
            nchunks = schedule.nchunks
            schedule = edited(schedule, rank, lambda s: mutate(data, s, size, nchunks))  # noqa: B023
    try:
        verify(schedule)
    except VerificationError:
        return
    count = 2 * schedule.nchunks  # even chunks: local copies may go anywhere
    per_rank = [2] * (size * size) if name == "all_to_all" else split(count, size)
    inputs = make_inputs(name, size, per_rank, count, root)
    outputs = interpret(schedule, inputs)
    for got, want in zip(outputs, expected(name, inputs, root, per_rank), strict=True):
        np.testing.assert_array_equal(got, want)


def test_builder_takes_sets_sequences_and_numpy_integers() -> None:
    def steps(write: Callable[[Builder], None]) -> tuple[Step, ...]:
        b = Builder(1, 4)
        write(b)
        return decode(np.array(b.stream, np.int32))

    assert steps(lambda b: b.send(chunk=range(2), dest={3, 0})) == (Step(0, 0, -1, (0, 3)), Step(0, 1, -1, (0, 3)))
    assert steps(lambda b: b.recv(chunk=np.int64(2), source=np.int32(3))) == (Step(1, 2, -1, (3,)),)
    assert steps(lambda b: b.recv_reduce(chunk=0, source=b.others)) == (Step(2, 0, -1, (0, 2, 3)),)
    assert steps(lambda b: b.recv_reduce(chunk=0, source=[])) == ()
    assert steps(lambda b: b.copy(chunk=0, source_chunk=1)) == (Step(3, 0, 1, ()),)
    assert steps(lambda b: b.reduce(chunk=1, source_chunk=0)) == (Step(4, 1, 0, ()),)
    with pytest.raises(ValueError, match="between 1 and"):
        Builder(0, 1).chunks(0)
    with pytest.raises(ValueError, match=r"rank must be in \[0, 2\), got 2"):
        Builder(2, 2)


def test_builder_knows_the_nodes() -> None:
    b = Builder(3, 5, nodes=(9, 2, 9, 2, 4))
    assert b.groups == ((0, 2), (1, 3), (4,))
    assert (b.node, b.local_ranks, b.nodes) == (1, (1, 3), (9, 2, 9, 2, 4))


def test_tables_are_flat_read_only_and_round_trip() -> None:
    table = build("all_reduce", "two_shot", 3).tables[1]
    assert table.dtype == np.int32
    assert table.ndim == 1
    assert not table.flags.writeable
    assert table.tolist()[:10] == [0, 2, -1, 1, 2, 0, 0, -1, 1, 0]
    assert np.array_equal(encode(decode(table)), table)


@given(count=st.integers(0, 10**12), nchunks=st.integers(1, 50))
def test_chunk_range_is_the_even_split(count: int, nchunks: int) -> None:
    ranges = [chunk_range(count, nchunks, c) for c in range(nchunks)]
    sizes = [end - start for start, end in ranges]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == count
    assert all(a[1] == b[0] for a, b in pairwise(ranges))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1
    assert tuple(sizes) == split(count, nchunks)


def test_interpret_checks_lengths() -> None:
    with pytest.raises(ValueError, match="one array per rank, got 2 for 3"):
        interpret(RING, [np.zeros(3)] * 2)
    with pytest.raises(ValueError, match="rank 2's input must have 3 elements, got 4"):
        interpret(RING, [np.zeros(3), np.zeros(3), np.zeros(4)])


def test_codes_are_those_of_the_cpp_enum() -> None:
    assert [row.code for row in COLLECTIVES.values()] == list(range(9))
    assert [row.busbw_factor(4) for row in COLLECTIVES.values()] == [1.5, 0.75, 0.75, 1, 1, 0.75, 0.75, 0.75, 0]
    assert [row.busbw_factor(1) for row in COLLECTIVES.values()] == [0, 0, 0, 1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("module", [pyccl.collectives, pyccl.cost, pyccl.algorithms.registry])
def test_documented_examples_run(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]
