"""The command line of the simulator: commands, flags and their meaning."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from pyccl.errors import ConfigError
from pyccl.sim import quantity

from . import compare, plan, replay, run, validate

EXAMPLES = """\
examples:
  python -m pyccl.sim run scenario.toml --plot out.png --html out.html
  python -m pyccl.sim compare scenario.toml --strategies ring,hierarchical,ps_sync,ps_async,ssp:3,backup:4
  python -m pyccl.sim plan scenario.toml --deadline "24 h" --budget "5000 USD"
  python -m pyccl.sim replay trace.0.et --cluster cluster.toml
  python -m pyccl.sim validate here.toml

scenarios to begin with: docs/examples/scenarios. No MPI is needed.
exit status: 0; 2 for bad input, with one line that says what to write instead; 130 after Ctrl-C"""

RUN = """\
examples:
  python -m pyccl.sim run scenario.toml
  python -m pyccl.sim run scenario.toml --steps 100 --seed 7 --json out.json --csv steps.csv
  python -m pyccl.sim run scenario.toml --trace out.perfetto.json      for ui.perfetto.dev
  python -m pyccl.sim run scenario.toml --plot out.png --html out.html"""

COMPARE = """\
Every strategy meets the same random numbers.

examples:
  python -m pyccl.sim compare scenario.toml --strategies ring,hierarchical,ps_sync,ps_async,ssp:3,backup:4
  python -m pyccl.sim compare scenario.toml --strategies "ring(bucket='25 MiB'),zero3" --plot out.png --json out.json"""

PLAN = """\
The section [plan] of the scenario says what to reach (samples, or epochs and dataset, or noise and least_steps) and
what may vary (workers, strategies, buckets, topologies).

examples:
  python -m pyccl.sim plan scenario.toml --deadline "24 h" --budget "5000 USD"
  python -m pyccl.sim plan scenario.toml --plot pareto.png --json plan.json"""

REPLAY = """\
Chakra (.et), GOAL, SimAI/ASTRA layer text and the PyTorch profiler's JSON are read; of trace.0.et the other ranks'
files are found beside it.

examples:
  python -m pyccl.sim replay trace.0.et --cluster cluster.toml
  python -m pyccl.sim replay trace.goal --cluster scenario.toml --json out.json --trace out.perfetto.json
  python -m pyccl.sim replay trace.0.et --cluster cluster.toml --algorithm ring --replicate 1024"""

VALIDATE = """\
examples:
  mpirun -n 4 python -m pyccl.bench --calibrate here.toml && python -m pyccl.sim validate here.toml
  python -m pyccl.sim validate --traces DIR --json errors.json --plot errors.png

DIR holds DIR/<model>/placements.csv, which is fitted, and DIR/<model>/scalability.csv, which is predicted."""


class UsageError(Exception):
    """The command line asks for something that cannot be done."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def _file(*suffixes: str) -> Callable[[str], Path]:
    def convert(text: str) -> Path:
        path = Path(text)
        if not path.absolute().parent.is_dir() or path.is_dir():
            raise argparse.ArgumentTypeError(f"cannot be written: {text!r}")
        if suffixes and path.suffix.lower() not in suffixes:
            raise argparse.ArgumentTypeError(f"{text!r} must end in one of {', '.join(suffixes)}")
        return path

    return convert


_picture = _file(".png", ".svg", ".pdf")


def _whole(least: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not text.isdecimal() or len(text) > 18 or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, below 10^18, got {text!r}")
        return int(text)

    return convert


def _quantity(kind: str, what: str) -> Callable[[str], float]:
    def convert(text: str) -> float:
        try:
            return quantity.parse(text, kind, what)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def split(text: str) -> list[str]:
    """Return the parts between commas that stand outside brackets.

    Examples
    --------
    >>> split("ring(bucket='1 MiB', overlap=true),ssp:3")
    ["ring(bucket='1 MiB', overlap=true)", 'ssp:3']
    """
    parts = [part.strip() for part in re.findall(r"(?:[^,(]|\([^)]*\)?)+", text)]
    if not all(parts) or not parts:
        raise argparse.ArgumentTypeError(f"{text!r} is no list; write ring,ssp:3")
    return parts


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m pyccl.sim`."""
    parser = _Parser(
        prog="python -m pyccl.sim", allow_abbrev=False, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Training on clusters that you do not have: how long, which strategy, at what cost.",
    )  # fmt: skip
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, what: str, more: str, action: Callable[[Any], int]) -> argparse.ArgumentParser:
        raw = argparse.RawDescriptionHelpFormatter
        added = commands.add_parser(name, help=what, description=what, epilog=more, formatter_class=raw,
                                    allow_abbrev=False)  # fmt: skip
        added.set_defaults(command=action)
        return added

    one = command("run", "simulate a scenario", RUN, run.main)
    _scenario(one)
    one.add_argument("--strategy", metavar="NAME", help="instead of the scenario's")
    _outputs(one)
    one.add_argument("--parquet", type=_file(), metavar="FILE", help="write a row per step (needs pyarrow)")
    one.add_argument("--trace", type=_file(), metavar="FILE.json", help="write a timeline for ui.perfetto.dev")
    one.add_argument("--trace-steps", type=_whole(1), default=5, metavar="N", help="steps in the timeline (5)")
    one.add_argument("--html", type=_file(".html", ".htm"), metavar="FILE", help="write a report of one page")

    several = command("compare", "simulate strategies side by side", COMPARE, compare.main)
    _scenario(several)
    several.add_argument("--strategies", type=split, required=True, metavar="NAME[,NAME]", help="such as ring,ssp:3")
    _outputs(several)

    search = command("plan", "find the configurations that are cheapest or fastest", PLAN, plan.main)
    search.add_argument("scenario", type=Path, metavar="scenario.toml")
    search.add_argument("--deadline", type=_quantity("time", "--deadline"), metavar="TIME", help="such as '24 h'")
    search.add_argument("--budget", type=_quantity("money", "--budget"), metavar="MONEY", help="such as '5000 USD'")
    search.add_argument("--any-memory", action="store_true", help="keep what does not fit in a device's memory")
    _outputs(search)

    again = command("replay", "run a trace on a cluster", REPLAY, replay.main)
    again.add_argument("path", type=Path, metavar="TRACE", help="a file, or a folder with one of each rank")
    again.add_argument("--cluster", type=Path, required=True, metavar="FILE.toml", help="with a section [cluster]")
    again.add_argument("--algorithm", metavar="NAME", help="of collectives (what the runtime chooses)")
    again.add_argument("--replicate", type=_whole(1), metavar="N", help="stretch the trace to N ranks")
    again.add_argument("--ranks", type=_whole(1), metavar="N", help="how many the trace must tell of; else an error")
    again.add_argument("--measured", action="store_true", help="messages take the time that the trace gives them")
    again.add_argument("--json", type=_file(), metavar="FILE", help="write the results")
    again.add_argument("--trace", type=_file(), metavar="FILE.json", help="write a timeline for ui.perfetto.dev")

    check = command("validate", "compare predictions with measurements", VALIDATE, validate.main)
    check.add_argument("calibration", type=Path, nargs="?", metavar="FILE.toml", help="of pyccl.bench --calibrate")
    check.add_argument("--traces", type=Path, metavar="DIR", help="measured training steps")
    check.add_argument("--json", type=_file(), metavar="FILE", help="write the errors")
    check.add_argument("--plot", type=_picture, metavar="FILE.png", help="draw predicted against measured")
    return parser


def _scenario(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scenario", type=Path, metavar="scenario.toml")
    parser.add_argument("--steps", type=_whole(1), metavar="N", help="instead of the scenario's")
    parser.add_argument("--seed", type=_whole(0), metavar="N", help="instead of the scenario's")


def _outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=_file(), metavar="FILE", help="write all results")
    parser.add_argument("--csv", type=_file(), metavar="FILE", help="write a table")
    parser.add_argument("--plot", type=_picture, metavar="FILE.png", help="draw (needs matplotlib)")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the checked command line; `command` is what does it.

    Raises
    ------
    UsageError
        If a flag is unknown or malformed.
    """
    return make_parser().parse_args(argv)
