"""Laws that every algorithm obeys, at awkward sizes, against an oracle that knows no schedules."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce as fold

import numpy as np
import pytest

from pyccl.algorithms import algorithms, build, get_algorithm, register_algorithm, registry, unregister_algorithm
from pyccl.collectives import COLLECTIVES, collective, split
from pyccl.cost import COSTS, Hockney, hierarchical_all_reduce_time, predict, schedule_bytes
from pyccl.schedule import Builder, Schedule, VerificationError, interpret, record, verify
from pyccl.schedule.views import timeline
from tests.oracle import expected, make_inputs

EVERY = [(c, a) for c in COLLECTIVES for a in algorithms(c)]
NETWORK = Hockney(alpha=1e-6, beta=1e-9)


def layouts(size: int, algorithm: str) -> list[tuple[int, ...] | None]:
    """Return node layouts to try: one node, equal nodes, unequal nodes, interleaved, one rank per node."""
    if algorithm != "hierarchical":
        return [None]
    even = next((k for k in (3, 2, 5, 7) if size % k == 0), 1)
    both = [tuple(r * even // size for r in range(size)), tuple(r // 4 for r in range(size))]
    if size > 17:
        return [*both]
    return [
        None,
        *both,
        tuple(7 - r % 3 for r in range(size)),
        tuple(range(size)),
        tuple(min(r, 1) for r in range(size)),
    ]


def schedules(name: str, algorithm: str, sizes: range | tuple[int, ...]) -> Iterator[Schedule]:
    """Yield the schedules of all sizes served, with several roots and layouts."""
    for size in filter(get_algorithm(name, algorithm).serves, sizes):
        roots = {0, size // 2, size - 1} if collective(name).rooted and size <= 17 else {size // 3}
        for root in roots if collective(name).rooted else {0}:
            for nodes in layouts(size, algorithm):
                yield build(name, algorithm, size, root, nodes)


@pytest.mark.parametrize(("name", "algorithm"), EVERY)
def test_verifier_proves_every_size(name: str, algorithm: str) -> None:
    for schedule in schedules(name, algorithm, range(1, 65)):
        report = verify(schedule)
        assert schedule.size > 1 or report.messages == 0


@pytest.mark.parametrize(("name", "algorithm"), EVERY)
def test_interpreter_equals_oracle(name: str, algorithm: str) -> None:
    for schedule in schedules(name, algorithm, range(1, 18)):
        size, root = schedule.size, schedule.root
        for count in {0, 1, size - 1, size, size + 1, 997}:
            per_rank = split(count, size) * (size if name == "all_to_all" else 1)
            inputs = make_inputs(name, size, per_rank, count, root)
            before = [x.copy() for x in inputs]
            outputs = interpret(schedule, inputs)
            for got, want in zip(outputs, expected(name, inputs, root, per_rank), strict=True):
                np.testing.assert_array_equal(got, want)
            assert all(np.array_equal(x, y) for x, y in zip(inputs, before, strict=True))


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [(c, a) for c, a in EVERY if c in ("reduce_scatter", "all_gather", "gather", "scatter", "all_to_all")],
)
def test_uneven_counts_with_empty_chunks(name: str, algorithm: str) -> None:
    random = np.random.default_rng(5)
    for schedule in schedules(name, algorithm, (1, 2, 3, 4, 7, 8)):
        counts = random.choice([0, 0, 1, 5, 11], schedule.nchunks).tolist()
        inputs = make_inputs(name, schedule.size, counts, 0, schedule.root)
        outputs = interpret(schedule, inputs, counts=counts)
        for got, want in zip(outputs, expected(name, inputs, schedule.root, counts), strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [(c, a) for c, a in EVERY if collective(c).reduces and not get_algorithm(c, a).commutative_only and c != "barrier"],
)
def test_associative_operation_keeps_rank_order(name: str, algorithm: str) -> None:
    for schedule in schedules(name, algorithm, range(1, 18)):
        words = [np.array([f"{r}."] * 3, dtype=object) for r in range(schedule.size)]
        sentence = fold(lambda x, y: x + y, (f"{r}." for r in range(schedule.size)))
        for output in interpret(schedule, words):
            assert all(word == sentence for word in output)


@pytest.mark.parametrize(
    ("name", "algorithm"), [(c, a) for c, a in EVERY if get_algorithm(c, a).order == "rank" and c != "barrier"]
)
def test_rank_order_repeats_the_bits_of_direct(name: str, algorithm: str) -> None:
    random = np.random.default_rng(1)
    for schedule in schedules(name, algorithm, range(1, 18)):
        inputs = [(random.standard_normal(41) * 100).astype(np.float16) for _ in range(schedule.size)]
        want = fold(np.add, [x.astype(np.float32) for x in inputs]).astype(np.float16)
        outputs = interpret(schedule, inputs, accumulate_as=np.float32)
        per_rank = split(41, schedule.size)
        nothing = want[:0]
        wanted = {
            "all_reduce": [want] * schedule.size,
            "reduce": [want if r == schedule.root else nothing for r in range(schedule.size)],
            "reduce_scatter": np.split(want, np.cumsum(per_rank)[:-1]),
        }[name]
        assert [x.tobytes() for x in outputs] == [x.tobytes() for x in wanted]


def test_non_reducing_collectives_never_combine() -> None:
    for name, algorithm in EVERY:
        if not collective(name).reduces:
            for schedule in schedules(name, algorithm, (2, 4, 6)):
                assert all(step.kind in (0, 1) for steps in schedule.steps for step in steps)


def test_hierarchical_on_one_node_is_two_shot() -> None:
    one, two = (build("all_reduce", a, 6) for a in ("hierarchical", "two_shot"))
    for mine, theirs in zip(one.steps, two.steps, strict=True):
        assert mine == theirs


@pytest.mark.parametrize("nodes", [(0, 0, 0, 1, 1, 1), (0, 0, 0, 0, 1, 1, 2)])
def test_hierarchical_crosses_nodes_with_few_bytes(nodes: tuple[int, ...]) -> None:
    schedule = build("all_reduce", "hierarchical", len(nodes), nodes=nodes)
    counts = collective("all_reduce").chunk_counts(3000, len(nodes), schedule.nchunks)
    crossing = [0] * len(nodes)
    for rank, steps in enumerate(schedule.steps):
        for step in steps:
            away = [p for p in step.peers if step.kind == 0 and nodes[p] != nodes[rank]]
            crossing[nodes[rank]] += len(away) * counts[step.chunk]
    k = len(set(nodes))
    assert crossing[:k] == [2 * (k - 1) * 3000 // k] * k


def test_user_algorithm_is_on_equal_terms() -> None:
    def star(b: Builder) -> None:
        b.chunks(1)
        if b.rank == 0:
            b.recv_reduce(chunk=0, source=b.others)
            b.send(chunk=0, dest=set(b.others))
        else:
            b.send(chunk=0, dest=0)
            b.recv(chunk=0, source=0)

    register_algorithm("all_reduce", star, order="rank", commutative_only=False)
    try:
        with pytest.raises(ValueError, match="already has an algorithm 'star'"):
            register_algorithm("all_reduce", star)
        assert verify(build("all_reduce", "star", 5)).one_pass
        for output in interpret(build("all_reduce", "star", 5), [np.full(3, 1 << r) for r in range(5)]):
            assert output.tolist() == [31, 31, 31]
    finally:
        unregister_algorithm("all_reduce", "star")
    with pytest.raises(ValueError, match=r"all_reduce algorithm must be one of .*ring.*, got 'star'"):
        build("all_reduce", "star", 5)


def test_false_promises_are_found() -> None:
    ring = get_algorithm("all_reduce", "ring").function
    with pytest.raises(VerificationError, match="does not keep the operands in rank order"):
        verify(record(ring, "all_reduce", 4, commutative_only=False))
    with pytest.raises(VerificationError, match="not one pass in rank order"):
        verify(record(ring, "all_reduce", 4, order="rank"))


def test_build_refuses_what_it_cannot_serve() -> None:
    with pytest.raises(ValueError, match="does not serve 6 ranks"):
        build("reduce_scatter", "recursive_halving", 6)
    with pytest.raises(ValueError, match=r"root must be in \[0, 4\), got 4"):
        build("broadcast", "direct", 4, root=4)
    with pytest.raises(ValueError, match="one node per rank"):
        build("broadcast", "direct", 4, nodes=(0, 0))
    with pytest.raises(ValueError, match="collective must be one of all_reduce"):
        build("allreduce", "ring", 4)
    with pytest.raises(ValueError, match="same number of chunks"):
        record(lambda b: b.chunks(b.rank + 1), "all_reduce", 2)
    with pytest.raises(ValueError, match="same number of chunks"):
        record(lambda b: b.chunks(3), "all_gather", 2)


def test_build_is_fast_enough_for_64_ranks_and_cached() -> None:
    from time import process_time

    for algorithm in ("ring", "two_shot"):
        assert build("all_reduce", algorithm, 64) is build("all_reduce", algorithm, 64)
        best = 1.0
        for _ in range(3):
            registry._cached.cache_clear()
            start = process_time()
            build("all_reduce", algorithm, 64)
            best = min(best, process_time() - start)
        assert best < 0.06


def test_golden_costs() -> None:
    ring = predict("all_reduce", "ring", 8, 64e6, Hockney(5e-6, 1e-10))
    assert ring == pytest.approx(11.27e-3, rel=1e-12)
    for size, milliseconds in ((8, 9.423241), (64, 10.821646), (256, 11.715475), (1024, 14.818932)):
        switch = predict("all_reduce", "ring", size, 64 * 2**20, Hockney(2e-6, 1 / 12.5e9))
        assert switch * 1e3 == pytest.approx(milliseconds, abs=1e-6)
    one_node = hierarchical_all_reduce_time(1, 8, 1e6, inside=Hockney(1e-6, 1e-10, 1e-10), between=NETWORK)
    assert one_node == pytest.approx(predict("all_reduce", "two_shot", 8, 1e6, Hockney(1e-6, 1e-10, 1e-10)))
    with pytest.raises(ValueError, match="no closed form"):
        predict("all_reduce", "hierarchical", 8, 1e6, NETWORK)


@pytest.mark.parametrize(("name", "algorithm"), COSTS)
def test_closed_form_equals_virtual_time(name: str, algorithm: str) -> None:
    for size in filter(get_algorithm(name, algorithm).serves, range(1, 20)):
        if (algorithm, size) == ("scatter_all_gather", 2):
            continue  # the scatter alone brings everything: less than the closed form
        nbytes = size * size * 16
        schedule = build(name, algorithm, size)
        nbytes *= schedule.nchunks
        times = timeline(schedule, alpha=NETWORK.alpha, beta=NETWORK.beta, gamma=0.0, nbytes=nbytes)
        end = max((step[1] for steps in times for step in steps), default=0.0)
        assert end == pytest.approx(predict(name, algorithm, size, nbytes, NETWORK), rel=1e-9)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("count", [0, 1, 7, 997])
def test_ring_bytes_of_uneven_chunks(size: int, count: int) -> None:
    counts = split(count, size)
    sent = schedule_bytes(build("all_reduce", "ring", size), counts)
    expected_bytes = [2 * count - counts[(r + 1) % size] - counts[(r + 2) % size] for r in range(size)]
    assert list(sent) == expected_bytes


@pytest.mark.parametrize("size", [2, 3, 8])
def test_even_bytes_follow_the_bus_bandwidth_factor(size: int) -> None:
    for name, algorithm in (("all_reduce", "two_shot"), ("reduce_scatter", "pairwise"), ("all_to_all", "direct")):
        schedule = build(name, algorithm, size)
        counts = collective(name).chunk_counts(size * 100, size, schedule.nchunks)
        sent = schedule_bytes(schedule, counts)
        assert sent == (round(size * 100 * collective(name).busbw_factor(size)),) * size
