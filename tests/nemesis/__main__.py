"""`python -m tests.nemesis --help`"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import sys
import time

from tests.nemesis.script import FAULTS, Round, draw
from tests.nemesis.start import Seen, play
from tests.nemesis.verdict import detection, judge


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.nemesis", description="Break ranks and judge the survivors.")
    parser.add_argument("--seed", type=int, default=1, help="what all rounds are drawn from (1)")
    parser.add_argument("--rounds", type=int, default=100, help="how many (100)")
    parser.add_argument("--first", type=int, default=0, help="number of the first round (0)")
    parser.add_argument("--only", type=int, help="repeat one round, and show all that its ranks noted")
    parser.add_argument("--faults", default=",".join(FAULTS), help=f"some of {','.join(FAULTS)} (all)")
    parser.add_argument("--mpi", choices=("none", "mpich", "openmpi"), default="none", help="who starts ranks (none)")
    parser.add_argument("--ranks", type=int, default=4, help="of every round (4)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no round after so many (no limit)")
    parser.add_argument("--json", action="store_true", help="end with the figures as JSON")
    options = parser.parse_args()
    options.faults = options.faults.split(",")
    if set(options.faults) - set(FAULTS) or options.ranks < 2:
        parser.error(f"--faults are of {','.join(FAULTS)}, --ranks at least 2")
    return options


def main() -> int:
    options = _arguments()
    numbers = [options.only] if options.only is not None else range(options.first, options.first + options.rounds)
    points: set[tuple[str, str, str, int]] = set()
    kinds: collections.Counter[str] = collections.Counter()
    slowest, failures, start = 0.0, 0, time.monotonic()
    for done, number in enumerate(numbers, 1):
        if time.monotonic() - start > options.seconds:
            break
        script = draw(options.seed, number, options.ranks, options.faults, options.mpi != "none")
        seen = play(script, options.mpi)
        wrong = judge(script, seen)
        slowest = max(slowest, detection(script, seen) or 0.0)
        points.add(script.point)
        kinds[script.fault.kind] += 1
        if wrong or options.only is not None:
            failures += bool(wrong)
            _show(options, script, seen, wrong)
        line = f"{done} of {len(numbers)} rounds, {failures} failed, {time.monotonic() - start:.0f} s"
        if sys.stderr.isatty():
            print(f"\r{line}", end="", file=sys.stderr, flush=True)
        elif done % 25 == 0:
            print(line, file=sys.stderr, flush=True)
    per = collections.Counter(name for name, *_ in points)
    figures = {
        "rounds": sum(kinds.values()), "failed": failures, "faults": dict(kinds), "points": dict(per),
        "slowest_detection": round(slowest, 3), "seconds": round(time.monotonic() - start, 1),
    }  # fmt: skip
    print()
    print(json.dumps(figures) if options.json else figures, flush=True)
    return min(failures, 1)


def _show(options: argparse.Namespace, script: Round, seen: Seen, wrong: list[str]) -> None:
    which = "" if options.mpi == "none" else f" --mpi {options.mpi}"
    again = f"--seed {options.seed} --only {script.name.split(':')[1]} --ranks {script.size}{which}"
    print(f"\nround {script.name}: {dataclasses.asdict(script.fault)} in {script.steps[script.fault.step]}")
    print(f"per node {script.per_node}, timeout {script.timeout}; again: {again} --faults {','.join(options.faults)}")
    print(*(f"  {text}" for text in wrong), sep="\n")
    if options.only is not None or any("hang" in text or "ended with" in text or "never" in text for text in wrong):
        print(json.dumps([*script.steps], default=dataclasses.asdict))
        for rank, events in enumerate(seen.events):
            print(*(f"  rank {rank}: {json.dumps(event)}" for event in events), sep="\n")
        print(seen.errors)


if __name__ == "__main__":
    sys.exit(main())
