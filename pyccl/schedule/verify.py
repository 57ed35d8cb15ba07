"""Proof by symbolic execution: follows which ranks' contributions every chunk holds."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

from pyccl.schedule.machine import Machine, at
from pyccl.schedule.table import Kind, Schedule, VerificationError

Messages = dict[tuple[int, int], list[tuple[int, int]]]


class Held(NamedTuple):
    """What a chunk holds: whose contributions, of which chunk, and how they were combined."""

    ranks: int  # bit r: rank r's contribution
    home: int  # the chunk that the contributions belong to
    ordered: bool  # operands stand in rank order
    passes: int  # 0: one contribution; 1: one n-ary pass over contributions; 2: anything deeper


@dataclass(frozen=True)
class Report:
    """What a verified schedule was found to do.

    Attributes
    ----------
    keeps_rank_order : bool
        Operands always stand in rank order: an associative operation is enough.
    one_pass : bool
        Moreover every result is one n-ary pass: bit-identical to direct.
    messages : int
        Messages sent by all ranks together.
    """

    keeps_rank_order: bool
    one_pass: bool
    messages: int


def verify(schedule: Schedule) -> Report:
    """Prove that `schedule` does what its collective promises, on any transport that keeps messages in order.

    Returns
    -------
    Report

    Raises
    ------
    VerificationError
        Names the first fault: a chunk outside the range, a message to oneself, a send or recv without its
        counterpart, a deadlock (with its cycle), a read of a chunk never held, a contribution counted twice, or, at
        the end, a chunk with missing, late or foreign contributions, or an order of operands other than declared.
    """
    messages = _check_messages(schedule)
    machine = Machine(schedule, _initially(schedule), _Combine(schedule))
    machine.run()
    report = _check_result(schedule, machine.held, messages)
    if schedule.row.reduces and schedule.collective != "barrier":
        _check_order(schedule, report)
    return report


def _check_step_ranges(schedule: Schedule) -> None:
    size, nchunks = schedule.size, schedule.nchunks
    for rank, steps in enumerate(schedule.steps):
        for index, (kind, chunk, source_chunk, peers) in enumerate(steps):
            local = kind == Kind.COPY or kind == Kind.REDUCE
            if not 0 <= chunk < nchunks or (local and not 0 <= source_chunk < nchunks):
                raise VerificationError(f"{at(schedule, rank, index)} is outside the {nchunks} chunks")
            if rank in peers:
                raise VerificationError(f"{at(schedule, rank, index)} is a message to itself")
            if peers and (min(peers) < 0 or max(peers) >= size):
                raise VerificationError(f"{at(schedule, rank, index)} names a rank outside [0, {size})")
            if len(set(peers)) != len(peers):
                raise VerificationError(f"{at(schedule, rank, index)} names a rank twice")
            if (kind == Kind.RECV and len(peers) != 1) or (local and peers) or (not local and source_chunk != -1):
                raise VerificationError(
                    f"{at(schedule, rank, index)} has peers or a source chunk that its kind has not"
                )


def _check_messages(schedule: Schedule) -> int:
    """Match the k-th send of every pair of ranks with its k-th recv; return the number of messages."""
    _check_step_ranges(schedule)
    sent: Messages = defaultdict(list)
    received: Messages = defaultdict(list)
    for rank, steps in enumerate(schedule.steps):
        for index, (kind, chunk, _, peers) in enumerate(steps):
            if kind == Kind.SEND:
                for peer in peers:
                    sent[rank, peer].append((chunk, index))
            else:
                for peer in peers:
                    received[peer, rank].append((chunk, index))
    for pair in sorted(sent.keys() | received.keys()):
        _check_channel(schedule, pair, sent[pair], received[pair])
    return sum(map(len, sent.values()))


def _check_channel(
    schedule: Schedule, pair: tuple[int, int], sent: list[tuple[int, int]], received: list[tuple[int, int]]
) -> None:
    source, dest = pair
    counts = f"rank {source} sends {len(sent)} messages to rank {dest}, which receives {len(received)}"
    for (chunk, i), (wanted, j) in zip(sent, received, strict=False):
        if chunk != wanted:
            raise VerificationError(
                f"mismatched message: {at(schedule, source, i)} meets {at(schedule, dest, j)} ({counts})"
            )
    both = min(len(sent), len(received))
    if len(sent) > both:
        raise VerificationError(f"unmatched send: {at(schedule, source, sent[both][1])} is never received ({counts})")
    if len(received) > both:
        raise VerificationError(f"unmatched recv: {at(schedule, dest, received[both][1])} is never sent ({counts})")


def _initially(schedule: Schedule) -> list[dict[int, Held]]:
    return [{c: Held(1 << r, c, True, 0) for c in schedule.initial(r)} for r in range(schedule.size)]


class _Combine:
    """Combines symbolic operands, refusing doubles and strangers."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        # a barrier only asks that everybody was heard, however often
        self.idempotent = schedule.collective == "barrier"

    def __call__(self, rank: int, index: int, operands: list[Held]) -> Held:
        ranks, ordered, passes, home = 0, True, 1, operands[0].home
        for more, its_home, its_order, its_passes in operands:
            if its_home != home:
                where = at(self.schedule, rank, index)
                raise VerificationError(f"foreign contribution: {where} mixes chunks {home} and {its_home}")
            if ranks & more and not self.idempotent:
                where = at(self.schedule, rank, index)
                raise VerificationError(f"double contribution: {where} adds {_names(ranks & more)} twice")
            ordered = ordered and its_order and (more & -more) > ranks
            passes = 2 if its_passes else passes
            ranks |= more
        return Held(ranks, home, ordered, passes)


def _check_result(schedule: Schedule, held: list[dict[int, Held]], messages: int) -> Report:
    everyone = (1 << schedule.size) - 1
    owner = {c: 1 << r for r in range(schedule.size) for c in schedule.initial(r)}
    ordered, passes = True, 0
    for rank in range(schedule.size):
        for chunk in schedule.final(rank):
            wanted = everyone if schedule.row.reduces else owner[chunk]
            got = held[rank].get(chunk)
            if got is None or got.ranks != wanted or got.home != chunk:
                raise VerificationError(_diagnose(schedule, held, rank, chunk, wanted))
            ordered = ordered and got.ordered
            passes = max(passes, got.passes)
    return Report(ordered, ordered and passes <= 1, messages)


def _diagnose(schedule: Schedule, held: list[dict[int, Held]], rank: int, chunk: int, wanted: int) -> str:
    got = held[rank].get(chunk)
    if got is None:
        return f"missing chunk: rank {rank} ends without chunk {chunk}"
    if got.home != chunk:
        return f"foreign contribution: rank {rank} ends with chunk {got.home} in the place of chunk {chunk}"
    missing, foreign = wanted & ~got.ranks, got.ranks & ~wanted
    if foreign:
        return f"foreign contribution: rank {rank} chunk {chunk} ends with {_names(foreign)}"
    for index in reversed(range(len(schedule.steps[rank]))):
        step = schedule.steps[rank][index]
        late = [p for p in step.peers if step.chunk == chunk and chunk in held[p] and held[p][chunk].ranks & missing]
        if step.kind in (Kind.RECV, Kind.RECV_REDUCE) and late:
            return (
                f"late contribution: rank {rank} chunk {chunk} ends without {_names(missing)}, which reached "
                f"rank {late[0]} only after it had sent what {at(schedule, rank, index)} receives"
            )
    return f"missing contribution: rank {rank} chunk {chunk} ends without {_names(missing)}"


def _check_order(schedule: Schedule, report: Report) -> None:
    if schedule.order == "rank" and not report.one_pass:
        raise VerificationError(f"{schedule.algorithm} declares order='rank', but is not one pass in rank order")
    if not schedule.commutative_only and not report.keeps_rank_order:
        raise VerificationError(
            f"{schedule.algorithm} declares commutative_only=False, but does not keep the operands in rank order"
        )


def _names(ranks: int) -> str:
    members = [r for r in range(ranks.bit_length()) if ranks >> r & 1]
    return f"rank{'s' if len(members) > 1 else ''} {', '.join(map(str, members))}"
