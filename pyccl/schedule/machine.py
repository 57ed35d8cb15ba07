"""Runs a schedule on values of any kind: the verifier's sets of ranks, or the interpreter's arrays."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from pyccl.schedule.table import Kind, Schedule, Step, VerificationError

V = TypeVar("V")
Combine = Callable[[int, int, list[V]], V]


def at(schedule: Schedule, rank: int, index: int) -> str:
    """Return how errors name a step."""
    return f"rank {rank} step {index} ({schedule.steps[rank][index]})"


class Machine(Generic[V]):
    """All ranks in lockstep over first-in-first-out channels; sends never wait, receives do, in program order.

    Parameters
    ----------
    schedule : Schedule
    held : list of dict, one per rank
        Value of each chunk that the rank holds; updated by `run`.
    combine : callable (rank, step index, operands) -> value
        Operands are in rank order, or for a local reduce in the order chunk, source chunk.
    """

    def __init__(self, schedule: Schedule, held: list[dict[int, V]], combine: Combine[V]) -> None:
        self.schedule = schedule
        self.held = held
        self.combine = combine
        self.next = [0] * schedule.size
        self.waits_for: list[int | None] = [None] * schedule.size
        self.channels: list[dict[int, deque[V]]] = [{} for _ in range(schedule.size)]
        self.runnable = deque(range(schedule.size))

    def run(self) -> None:
        """Run to the end.

        Raises
        ------
        VerificationError
            If a rank reads a chunk that it does not hold, or waits for ever.
        """
        while self.runnable:
            self._advance(self.runnable.popleft())
        stuck = [rank for rank, source in enumerate(self.waits_for) if source is not None]
        if stuck:
            raise VerificationError(self._why_stuck(stuck[0]))

    def _advance(self, rank: int) -> None:
        steps, held, inbox = self.schedule.steps[rank], self.held[rank], self.channels[rank]
        self.waits_for[rank] = None
        for index in range(self.next[rank], len(steps)):
            step = steps[index]
            kind, chunk, source_chunk, peers = step
            if kind != Kind.RECV and (unheld := _unheld(held, step)) is not None:
                raise VerificationError(f"{at(self.schedule, rank, index)} reads chunk {unheld}, which it never held")
            if kind == Kind.SEND:
                self._post(rank, held[chunk], peers)
            elif kind == Kind.COPY:
                held[chunk] = held[source_chunk]
            elif kind == Kind.REDUCE:
                held[chunk] = self.combine(rank, index, [held[chunk], held[source_chunk]])
            elif (missing := _first_missing(inbox, peers)) is not None:
                self.waits_for[rank], self.next[rank] = missing, index
                return
            elif kind == Kind.RECV:
                held[chunk] = inbox[peers[0]].popleft()
            else:
                held[chunk] = self._fold(rank, index, step)
        self.next[rank] = len(steps)

    def _post(self, rank: int, value: V, peers: tuple[int, ...]) -> None:
        for peer in peers:
            inbox = self.channels[peer]
            if rank in inbox:
                inbox[rank].append(value)
            else:
                inbox[rank] = deque((value,))
            if self.waits_for[peer] == rank:
                self.waits_for[peer] = None
                self.runnable.append(peer)

    def _fold(self, rank: int, index: int, step: Step) -> V:
        operands = {rank: self.held[rank][step.chunk]}
        for peer in step.peers:
            operands[peer] = self.channels[rank][peer].popleft()
        return self.combine(rank, index, [operands[r] for r in sorted(operands)])

    def _why_stuck(self, rank: int) -> str:
        chain: list[int] = []
        while rank not in chain:
            chain.append(rank)
            source = self.waits_for[rank]
            if source is None:
                last = chain[-2]
                where = at(self.schedule, last, self.next[last])
                return f"unmatched recv: {where} waits for a message that rank {rank} never sends"
            rank = source
        cycle = chain[chain.index(rank) :]
        links = " -> ".join(at(self.schedule, r, self.next[r]) for r in [*cycle, cycle[0]])
        return f"deadlock: each waits for the next: {links}"


def _first_missing(inbox: dict[int, deque[V]], peers: tuple[int, ...]) -> int | None:
    for peer in peers:
        if not inbox.get(peer):
            return peer
    return None


def _unheld(held: dict[int, V], step: Step) -> int | None:
    if step.kind != Kind.COPY and step.chunk not in held:
        return step.chunk
    if step.source_chunk >= 0 and step.source_chunk not in held:
        return step.source_chunk
    return None
