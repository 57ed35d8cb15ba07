"""What each stage of a pipeline does, in order: data, made by a rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import NamedTuple

from pyccl.errors import ConfigError


class Slot(NamedTuple):
    """One pass of one micro-batch through one chunk of a stage's layers."""

    backward: bool
    micro_batch: int
    chunk: int = 0


Order = list[list[Slot]]
"""Slots of each stage."""


def gpipe(stages: int, micro_batches: int, chunks: int = 1) -> Order:
    """All forward passes, then all backward passes (Huang et al. 2019, arXiv:1811.06965)."""
    return [[Slot(back, m) for back in (False, True) for m in range(micro_batches)] for _ in range(stages)]


def one_forward_one_backward(stages: int, micro_batches: int, chunks: int = 1) -> Order:
    """After as many forward passes as there are stages behind, one backward for one forward [1]_.

    References
    ----------
    .. [1] D. Narayanan et al., "PipeDream: generalized pipeline parallelism for DNN training", SOSP 2019,
       doi:10.1145/3341301.3359646; flushed after each step, as in the work below
    """
    return [_alternate(stages - stage - 1, micro_batches, lambda k, _: (k, 0)) for stage in range(stages)]


def interleaved(stages: int, micro_batches: int, chunks: int) -> Order:
    """Every stage has `chunks` pieces of the model, which micro-batches visit in groups of as many as stages [1]_.

    References
    ----------
    .. [1] D. Narayanan et al., "Efficient large-scale language model training on GPU clusters using Megatron-LM",
       SC 2021, doi:10.1145/3458817.3476209
    """
    if micro_batches % stages:
        raise ConfigError(
            f"interleaved needs micro_batches that are a multiple of {stages} stages, got {micro_batches}"
        )

    def visit(k: int, back: bool) -> tuple[int, int]:
        group, place = divmod(k, stages * chunks)
        chunk = place // stages
        return group * stages + place % stages, chunks - 1 - chunk if back else chunk

    total = micro_batches * chunks
    warm = [2 * (stages - stage - 1) + (chunks - 1) * stages for stage in range(stages)]
    return [_alternate(total if micro_batches == stages else w, total, visit) for w in warm]


def _alternate(warm: int, total: int, visit: Callable[[int, bool], tuple[int, int]]) -> list[Slot]:
    """Return `warm` forward passes, then one of each in turn, then the backward passes that are left."""
    warm = min(warm, total)
    forward = [Slot(False, *visit(k, False)) for k in range(total)]
    backward = [Slot(True, *visit(k, True)) for k in range(total)]
    pairs = [slot for pair in zip(forward[warm:], backward, strict=False) for slot in pair]
    return [*forward[:warm], *pairs, *backward[total - warm :]]


ORDERS = MappingProxyType({"gpipe": gpipe, "1f1b": one_forward_one_backward, "interleaved": interleaved})


def in_flight(slots: Sequence[Slot], held: Sequence[float]) -> float:
    """Return the most that a stage holds at once, with ``held[chunk]`` from a forward pass to its backward pass.

    Examples
    --------
    >>> [in_flight(slots, [1.0]) for slots in one_forward_one_backward(4, 8)]
    [4.0, 3.0, 2.0, 1.0]
    """
    now = most = 0.0
    for slot in slots:
        now += -held[slot.chunk] if slot.backward else held[slot.chunk]
        most = max(most, now)
    return most


def schedule(order: Order, chunks: int) -> list[tuple[int, Slot]]:
    """Return all slots with their stages such that each comes after what it needs.

    A forward pass needs the chunk before it to have passed the micro-batch, a backward pass the chunk behind it, and
    its own forward pass.

    Raises
    ------
    ConfigError
        If stages wait for each other.
    """
    stages = len(order)
    depth, done, found = stages * chunks, set[tuple[bool, int, int]](), []
    at = [0] * stages
    while True:
        moved = False
        for stage, slots in enumerate(order):
            while at[stage] < len(slots):
                slot = slots[at[stage]]
                place = slot.chunk * stages + stage
                if not needs(slot, place, depth) <= done:
                    break
                done.add((slot.backward, slot.micro_batch, place))
                found.append((stage, slot))
                at[stage] += 1
                moved = True
        if not moved:
            break
    stuck = [stage for stage, slots in enumerate(order) if at[stage] < len(slots)]
    if stuck:
        raise ConfigError(f"the pipeline's order deadlocks: stages {', '.join(map(str, stuck))} wait for each other")
    return found


def needs(slot: Slot, place: int, depth: int) -> set[tuple[bool, int, int]]:
    """Return what must have been done before: (backward, micro-batch, place of the chunk in the model)."""
    if not slot.backward:
        return {(False, slot.micro_batch, place - 1)} if place else set()
    own = {(False, slot.micro_batch, place)}
    return own if place == depth - 1 else own | {(True, slot.micro_batch, place + 1)}
