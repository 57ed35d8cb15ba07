"""Cuts a model into stages of nearly equal work."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from pyccl.errors import ConfigError
from pyccl.sim.group_play import Ints


def cut(work: Sequence[float], stages: int) -> list[tuple[int, int]]:
    """Return where each of `stages` begins and ends such that the longest stage is as short as can be.

    Dynamic programming over the cuts, O(n² stages).

    Raises
    ------
    ConfigError
        If there are fewer layers than stages.

    Examples
    --------
    >>> cut([1, 1, 1, 5, 1, 1], 3)
    [(0, 3), (3, 4), (4, 6)]
    """
    n = len(work)
    if not 1 <= stages <= n:
        raise ConfigError(f"{n} layers cannot be cut into {stages} stages; use at most {n}")
    before = np.concatenate([[0.0], np.cumsum(work)])
    best = before[1:].copy()  # best[i]: the longest stage of the first i + 1 layers
    choices: list[Ints] = []
    for stage in range(1, stages):
        longest = np.full(n, np.inf)
        choice = np.zeros(n, dtype=np.int64)
        for end in range(stage, n):
            candidates = np.maximum(best[stage - 1 : end], before[end + 1] - before[stage : end + 1])
            pick = int(candidates.argmin())
            longest[end], choice[end] = candidates[pick], stage + pick
        best, choices = longest, [*choices, choice]
    cuts, end = [n], n - 1
    for choice in reversed(choices):
        cuts.append(int(choice[end]))
        end = cuts[-1] - 1
    edges = [0, *reversed(cuts)]
    return list(pairwise(edges))


def divisors(number: int, near: int) -> str:
    """Return the two divisors of `number` around `near`, as a message names them.

    Examples
    --------
    >>> divisors(64, 3), divisors(64, 99), divisors(64, 0)
    ('2 or 4', '64', '1')
    """
    found = [n for n in range(1, number + 1) if number % n == 0]
    around = [n for n in found if n < near][-1:] + [n for n in found if n > near][:1]
    return " or ".join(map(str, around))
