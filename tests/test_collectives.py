"""Every collective by every algorithm, on one to seventeen ranks over shared memory, against the oracle."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyccl.algorithms import algorithms
from pyccl.collectives import COLLECTIVES
from tests import ranks
from tests.calls import BLOCKED, Case, failures

SIZES = range(1, 18)


def cases(size: int) -> Iterator[Case]:
    """Yield awkward counts in every style, all roots in rotation."""
    turn = 0
    for collective in COLLECTIVES:
        uneven = (False, True) if collective in BLOCKED or collective == "all_to_all" else (False,)
        for algorithm in algorithms(collective, size):
            for count in sorted({0, 1, size - 1, size, size + 1, 997}):
                if collective == "all_to_all":
                    count = min(count, 61)  # per block
                for some in uneven:
                    for style in ("new", "in place") if turn % 2 else ("out", "in place"):
                        turn += 1
                        yield Case(collective, algorithm, size, count, turn % size, some, style)


@pytest.mark.parametrize("size", SIZES)
def test_every_algorithm_computes_what_the_oracle_says(size: int) -> None:
    every = list(cases(size))
    wrong = [text for texts in ranks.run(size, lambda comm: failures(comm, every)) for text in texts]
    assert not wrong, f"{len(wrong)} of {len(every)} cases on {size} ranks:\n" + "\n".join(wrong[:20])
