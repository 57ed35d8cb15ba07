"""The tiers without events: closed forms and (max,+) recurrences, where they are exact."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from pyccl.algorithms import get_algorithm
from pyccl.collectives import chunk_range
from pyccl.cost import COSTS, Hockney, predict

Floats = NDArray[np.float64]

# Steps of the rings, and the distance from a rank to the chunk that it receives last, counted downwards.
_RINGS = MappingProxyType({"all_reduce": 2, "reduce_scatter": 1, "all_gather": 1})


def ring_progress(starts: Floats, step: float, steps: int) -> Floats:
    """Return when each rank of a ring has completed `steps` steps of `step` seconds.

    A step of rank r begins when r and its left neighbour have both ended the one before: after s steps r is at
    ``max(starts[r - j] for j in 0..s) + s * step``. The maximum over a sliding window, by doubling.

    Parameters
    ----------
    starts : array of float, shape (n,)
        Seconds.
    step : float
        Seconds.
    steps : int

    Examples
    --------
    >>> ring_progress(np.array([5.0, 0.0, 0.0, 0.0]), 1.0, 2)
    array([7., 7., 7., 2.])
    """
    reach, window = np.asarray(starts, dtype=float), 1
    wanted = min(steps + 1, len(reach))
    while window < wanted:
        more = min(window, wanted - window)
        reach = np.maximum(reach, np.roll(reach, more))
        window += more
    return reach + steps * step


def closed_form(collective: str, algorithm: str, size: int, nbytes: int, network: Hockney) -> float | None:
    """Return the seconds after which all ranks end, if there is a formula that holds for each of them; else None.

    It is exact for equal chunks: a test compares with events for many sizes.
    """
    entry = get_algorithm(collective, algorithm)
    ours = entry.function.__module__.startswith("pyccl.algorithms.")  # not what a user has put in its place
    if not (entry.symmetric and ours and (collective, algorithm) in COSTS):
        return None
    return predict(collective, algorithm, size, nbytes, network)


def ring_finish(collective: str, size: int, nbytes: int, network: Hockney) -> Floats | None:
    """Return when each rank of a ring ends if its chunks differ, shape (size,); None where nothing is that simple.

    A rank's progress follows the slowest chain of steps. A chain that stays with a larger chunk takes as long as it
    can; to end with a smaller chunk f it must leave chunk 0 for p - 1, ..., f in its last steps.
    """
    if collective not in _RINGS or network.gamma > 0 or size < 2:
        return None
    steps = _RINGS[collective] * (size - 1)
    first = network.alpha + chunk_range(nbytes, size, 0)[1] * network.beta
    larger = nbytes % size
    begin, end = chunk_range(nbytes, size, size - 1)
    last = network.alpha + (end - begin) * network.beta
    shift = 1 if collective == "reduce_scatter" else 0
    chunk = (np.arange(size) - steps - shift) % size
    fewer = np.where(chunk < larger, 0, size - chunk)
    received = (steps - fewer) * first + fewer * last
    return np.maximum(received, np.roll(received, -1))  # a rank ends when its last message has been taken, too
