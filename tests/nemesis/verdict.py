"""What the promises say about a round, and where a round broke them."""

from __future__ import annotations

from typing import Any

from tests.nemesis.script import Round
from tests.nemesis.start import Seen
from tests.nemesis.strike import TEXT

DEAD_NEAR, DEAD_FAR = 2.0, 10.0  # seconds until a death is known: on one node, between nodes
SILENT = 1.0  # seconds beyond the timeout
NO_MEMORY = 127  # the C library ends a process whose new thread finds no memory for its own variables
AGAIN = 5e-3  # seconds for a later call, in the median


def judge(script: Round, seen: Seen) -> list[str]:
    """Return what is wrong; empty if all promises were kept."""
    if seen.stacks:
        return ["hang: not every rank ended\n" + seen.stacks]
    wrong = [f"left behind: {name}" for name in seen.left]
    for rank in range(script.size):
        wrong += [f"rank {rank}: {text}" for text in _always(seen, rank)]
    if not wrong:
        wrong += _RULES[script.fault.kind](script, seen)
    return wrong


def _always(seen: Seen, rank: int) -> list[str]:
    """What holds whatever befalls a rank."""
    if not seen.of(rank, "begun"):
        return ["never had a communicator"]
    wrong = [
        f"step {e['step']}: a wrong number without an error: {e['wrong']}" for e in seen.of(rank, "ok") if e["wrong"]
    ]
    wrong += [f"step {e['step']} changed its input" for e in seen.of(rank, "ok", "error") if e["changed"]]
    ended = seen.of(rank, "ended")
    if not ended:
        wrong.append("its end was not seen")
    elif ended[0]["code"] not in (0, -9, NO_MEMORY):
        wrong.append(f"ended with {ended[0]['code']}")
    for later in seen.of(rank, "later"):
        if "none" in later["kinds"] or len(later["kinds"]) > 1:
            wrong.append(f"later calls raised {later['kinds']}")
        if later["seconds"] > AGAIN:
            wrong.append(f"a later call took {later['seconds']:.4f} s in the median")
    return wrong


def detection(script: Round, seen: Seen) -> float | None:
    """Return the seconds from a death to its last notice; None if nobody died."""
    ended = [e["at"] for e in seen.of(script.fault.victim, "ended")]
    told = [e["at"] for r in _others(script) for e in seen.of(r, "error")]
    return max(0.0, max(told) - ended[0]) if script.fault.kind == "kill" and ended and told else None


def _others(script: Round) -> list[int]:
    return [rank for rank in range(script.size) if rank != script.fault.victim]


def _all_whole(script: Round, seen: Seen) -> list[str]:
    return [
        f"rank {rank} did not finish: {seen.of(rank, 'error', 'left')}"
        for rank in range(script.size)
        if not seen.of(rank, "whole")
    ]


def _first_errors(script: Round, seen: Seen, kind: str, limit: float, since: float) -> tuple[list[str], list[Any]]:
    """Every survivor's first error, which must be of `kind`, and come within `limit` of `since`."""
    wrong, errors = [], []
    for rank in _others(script):
        found = seen.of(rank, "error")
        if not found:
            wrong.append(f"rank {rank} heard nothing: {seen.of(rank, 'whole', 'left')}")
            continue
        error = found[0]
        errors.append(error)
        if error["kind"] != kind:
            wrong.append(f"rank {rank} raised {error['kind']}: {error['text']}")
        if error["at"] - since > limit:
            wrong.append(f"rank {rank} heard of it after {error['at'] - since:.2f} s")
        if not seen.of(rank, "later"):
            wrong.append(f"rank {rank} made no later calls")
    return wrong, errors


def _limit(script: Round) -> float:
    return DEAD_FAR if script.per_node and script.per_node < script.size else DEAD_NEAR


def _kill(script: Round, seen: Seen) -> list[str]:
    victim = script.fault.victim
    (ended,) = seen.of(victim, "ended")
    if ended["code"] == 0:
        return [f"the victim lived: {seen.events[victim]}"]
    wrong, errors = _first_errors(script, seen, "PeerLost", _limit(script), ended["at"])
    return wrong + [
        f"PeerLost names rank {e['rank']}, not {victim}: {e['text']}" for e in errors if e["rank"] != victim
    ]


def _stop(script: Round, seen: Seen) -> list[str]:
    victim = script.fault.victim
    stopped = seen.of(victim, "stopped")
    if not stopped:
        return ["the victim was not stopped"]
    if script.fault.amount * 1e-3 < script.timeout:
        return _all_whole(script, seen)
    wrong, errors = _first_errors(script, seen, "Timeout", script.timeout + SILENT, stopped[0]["at"])
    named = {rank for error in errors for rank in error["missing"]}
    if victim not in named:
        wrong.append(f"nobody names rank {victim}: {[e['text'] for e in errors]}")
    late = seen.of(victim, "error")
    if not late or late[0]["kind"] != "Timeout":
        wrong.append(f"the late rank did not raise: {seen.events[victim]}")
    return wrong


def _gives_up(script: Round, seen: Seen) -> list[str]:
    """An exception, an abort, or Ctrl-C: the others hear of it, and of its text."""
    victim = script.fault.victim
    left = seen.of(victim, "left")
    if not left:
        return [f"the victim did not leave: {seen.events[victim]}"]
    wrong, errors = _first_errors(script, seen, "PeerAborted", _limit(script), left[0]["at"])
    word = TEXT if script.fault.kind == "exception" else "KeyboardInterrupt"
    for error in errors:
        if error["rank"] != victim or not error["broken"] or word not in error["text"]:
            wrong.append(f"PeerAborted says {error['rank']}: {error['text']}")
    if script.fault.kind == "interrupt" and left[0]["kind"] not in ("KeyboardInterrupt",):
        wrong.append(f"the victim raised {left[0]['kind']}: {left[0]['text']}")
    return wrong


def _fork(script: Round, seen: Seen) -> list[str]:
    codes = [event["code"] for event in seen.of(script.fault.victim, "child")]
    wrong = _all_whole(script, seen)
    return wrong if codes == [0] else [*wrong, f"the child ended with {codes}"]


def _short(script: Round, seen: Seen) -> list[str]:
    """A resource has run out: either nobody noticed, or every rank raises at that very step; then all go on.

    Without memory a rank may also die.
    """
    step, victim = script.fault.step, script.fault.victim
    if script.fault.limit == "AS" and seen.of(victim, "ended")[0]["code"] == NO_MEMORY:
        return _kill(script, seen)
    wrong = []
    failed = {
        rank: [e for e in seen.of(rank, "error") if e["step"] == step] for rank in range(script.size)
    }  # fmt: skip
    if len({bool(errors) for errors in failed.values()}) != 1:
        wrong.append(f"not all ranks agree on step {step}: {failed}")
    for rank, errors in failed.items():
        for error in errors:
            if not error["own"]:
                wrong.append(f"rank {rank} raised {error['kind']}: {error['text']}")
            if error["kind"] == "Timeout":
                wrong.append(f"rank {rank} was not told: {error['text']}")
            if rank != victim and error["rank"] != victim and f"rank {victim}" not in error["text"]:
                wrong.append(f"rank {rank} does not name rank {victim}: {error['text']}")
    return wrong + _all_whole(script, seen)


_RULES = {
    "kill": _kill, "stop": _stop, "exception": _gives_up, "interrupt": _gives_up, "fork": _fork, "enospc": _short,
    "rlimit": _short,
}  # fmt: skip
