"""The bucket plan: every byte once, in the order of readiness, closed as soon as it is full."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pyccl.sim.buckets import plan

lengths = st.lists(st.integers(0, 50), max_size=40)


@given(sizes=lengths, cap=st.integers(0, 100), first=st.integers(0, 100))
def test_buckets_cover_all_bytes_once_in_order(sizes: list[int], cap: int, first: int) -> None:
    buckets = plan(sizes, cap, first)
    assert [bucket.nbytes for bucket in buckets] == [sum(sizes[b.begin : b.end]) for b in buckets]
    assert sum(bucket.nbytes for bucket in buckets) == sum(sizes)
    if buckets:
        assert buckets[0].begin == 0
        assert sizes[buckets[-1].end - 1] > 0  # ready with its last byte, not with what follows
        assert all(a.end == b.begin for a, b in pairwise(buckets))
    assert all(bucket.nbytes > 0 for bucket in buckets)


@given(sizes=lengths, cap=st.integers(1, 100), first=st.integers(1, 100))
def test_a_bucket_is_closed_when_it_is_full_and_not_before(sizes: list[int], cap: int, first: int) -> None:
    buckets = plan(sizes, cap, first)
    for index, bucket in enumerate(buckets):
        limit = min(first, cap) if index == 0 else cap
        given_last = next(i for i in reversed(range(bucket.begin, bucket.end)) if sizes[i])
        assert bucket.nbytes - sizes[given_last] < limit
        assert index == len(buckets) - 1 or bucket.nbytes >= limit


def test_the_first_bucket_is_small() -> None:
    megabyte = 1 << 20
    assert [bucket.nbytes // megabyte for bucket in plan([megabyte] * 60)] == [1, 25, 25, 9]
    assert [bucket.nbytes for bucket in plan([3, 4], cap=0)] == [3, 4]
    assert plan([]) == plan([0, 0]) == ()


def test_a_cap_of_nothing_leaves_each_tensor_alone() -> None:
    assert [bucket.nbytes for bucket in plan([3, 0, 5, 7], cap=0)] == [3, 5, 7]
