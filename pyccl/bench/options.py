"""The command line of the bench: flags, their meaning, and refusal of what makes no sense."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pyccl.launcher import launched_rank

from .cases import DTYPES, NAMES, OPS, defined
from .models import MODELS
from .units import parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO

LADDER = tuple(8 << k for k in (0, 3, 6, 9, 12, 15, 17, 19, 21, 23, 25, 27, 29))
"""8 B, 64 B, 512 B, 4 KiB, 32 KiB, 256 KiB, 1 MiB, then times four."""
SERVER = "ps"
SERVER_SIZES = (1 << 20, 64 << 20)
ROWS = 10_000_000
BUDGET = 55.0
PICTURES = (".png", ".svg", ".pdf")

EXAMPLES = """\
examples:
  mpirun -n 8 python -m pyccl.bench                                   every collective, 8 B to 64 MiB
  mpirun -n 2 python -m pyccl.bench --collective all_reduce --in-place --registered
  mpirun -n 4 python -m pyccl.bench --collective all_reduce --algorithm all --sizes 8,64K,16M
  mpirun -n 4 python -m pyccl.bench --collective all_reduce --dtype bfloat16,float16 --op avg
  mpirun -n 8 python -m pyccl.bench --model resnet50                  the gradients of a real model
  mpirun -n 8 python -m pyccl.bench --json run.json --plot run.png
  mpirun -n 8 python -m pyccl.bench --tune thresholds.json            which algorithm up to which size
  mpirun -n 8 python -m pyccl.bench --collective ps                   the parameter server; 5 GB for its rows
  mpirun -n 8 python -m pyccl.bench --collective ps --sizes 64M --rows 100000 --iters 15 --json ps.json
  mpirun -n 2 python -m pyccl.bench --calibrate machine.toml          alpha, beta, gamma for the simulator

exit status: 0; 1 if any element is wrong or a rank fails; 2 for a bad flag or a run that would not fit in memory"""


class UsageError(Exception):
    """The command line asks for something that cannot be done."""


@dataclass(frozen=True)
class Options:
    """A checked command line."""

    collectives: tuple[str, ...]
    algorithms: tuple[str, ...]
    dtypes: tuple[str, ...]
    ops: tuple[str, ...]
    sizes: tuple[int, ...]
    in_place: bool
    registered: bool
    plan: bool
    iters: int | None
    budget: float
    timeout: float | None
    model: str | None
    json: Path | None
    plot: Path | None
    tune: Path | None
    calibrate: Path | None
    rows: int = ROWS


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and says it once: the ranks all parse the same command line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)

    def _print_message(self, message: str, file: IO[str] | None = None) -> None:  # type: ignore[override]
        if message and not launched_rank():
            (file or sys.stdout).write(message)


def _collectives(text: str) -> tuple[str, ...]:
    return (SERVER,) if text == SERVER else _names(NAMES)(text)


def _names(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def convert(text: str) -> tuple[str, ...]:
        names = tuple(known) if text == "all" else tuple(sys.intern(name.strip()) for name in text.split(","))
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"unknown {name!r} (choose from {', '.join(known)}, all)")
        return names

    return convert


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(_size(part) for part in text.split(","))


def _positive(kind: type[int] | type[float]) -> Callable[[str], int | float]:
    def convert(text: str) -> int | float:
        try:
            value = kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"not a number: {text!r}") from error
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be positive, got {text}")
        return value

    return convert


def _file(text: str) -> Path:
    path = Path(text)
    if not path.absolute().parent.is_dir() or path.is_dir():
        raise argparse.ArgumentTypeError(f"cannot be written: {text!r}")
    return path


def _picture(text: str) -> Path:
    path = _file(text)
    if path.suffix.lower() not in PICTURES:
        raise argparse.ArgumentTypeError(f"{text!r} must end in one of {', '.join(PICTURES)}")
    return path


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m pyccl.bench`."""
    parser = _Parser(
        prog="python -m pyccl.bench",
        allow_abbrev=False,
        description="Time pyccl's collectives beside the launcher's own MPI, in the same run, and check every result.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what to time")
    names = "NAME[,NAME]"
    what.add_argument(
        "--collective", type=_collectives, default=NAMES, metavar=names,
        help=f"of {', '.join(NAMES)} (all); or {SERVER} alone: the parameter server",
    )  # fmt: skip
    what.add_argument(
        "--algorithm", default="auto", help="as pyccl.algorithms() lists them, or all (auto)", metavar=names
    )
    what.add_argument("--dtype", type=_names(DTYPES), default=("float32",), help="(float32)", metavar=names)
    what.add_argument("--op", type=_names(OPS), default=("sum",), help=f"of {', '.join(OPS)} (sum)", metavar=names)
    what.add_argument("--min", type=_size, default=8, metavar="SIZE", help="smallest size, of the large side (8)")
    what.add_argument("--max", type=_size, default=64 << 20, metavar="SIZE", help="largest size (64M)")
    what.add_argument("--sizes", type=_sizes, metavar="SIZE[,SIZE]", help="exactly these sizes, such as 8,32K,1M")
    what.add_argument("--in-place", action="store_true", help="all_reduce writes over its input")
    what.add_argument("--registered", action="store_true", help="pyccl on comm.empty() arrays, MPI on private ones")
    what.add_argument("--plan", action="store_true", help="pyccl by persistent plans")
    what.add_argument("--model", choices=MODELS, help="gradients of this model, by tensor and by bucket")
    what.add_argument("--rows", type=_positive(int), default=ROWS, metavar="N", help=f"of ps's sparse table ({ROWS})")
    how = parser.add_argument_group("how")
    how.add_argument("--iters", type=_positive(int), metavar="N", help="iterations per case (as many as time allows)")
    how.add_argument(
        "--budget", type=_positive(float), default=BUDGET, metavar="S", help=f"seconds for all cases ({BUDGET:g})"
    )
    how.add_argument("--timeout", type=_positive(float), metavar="S", help="deadline of every pyccl call (its default)")
    out = parser.add_argument_group("results")
    out.add_argument("--json", type=_file, metavar="FILE", help="write environment and rows")
    out.add_argument("--plot", type=_picture, metavar="FILE.png", help="draw latency and bandwidth (needs matplotlib)")
    out.add_argument(
        "--tune", nargs="?", type=_file, const=Path("pyccl-tuning.json"), metavar="FILE",
        help="time every algorithm instead and write the threshold table (pyccl-tuning.json)",
    )  # fmt: skip
    out.add_argument("--calibrate", type=_file, metavar="FILE.toml", help="fit alpha, beta, gamma instead")
    return parser


def parse(argv: Sequence[str] | None = None) -> Options:
    """Return the checked options.

    Raises
    ------
    UsageError
        If a flag is unknown, malformed or contradicts another.
    """
    a = make_parser().parse_args(argv)
    if a.min > a.max:
        raise UsageError(f"--min {a.min} is larger than --max {a.max}")
    modes = [name for name in ("model", "tune", "calibrate") if getattr(a, name) is not None]
    if len(modes) > 1:
        raise UsageError(f"--{modes[0]} and --{modes[1]} exclude each other")
    if modes and modes != ["model"] and (a.json or a.plot):
        raise UsageError(f"--{modes[0]} writes its own file: run --json and --plot without it")
    if a.model and a.plot:
        raise UsageError("--plot draws sizes, not a --model")
    if a.model and (len(a.dtype) > 1 or len(a.op) > 1 or "," in a.algorithm or a.algorithm == "all"):
        raise UsageError("--model takes one dtype, one op and one algorithm")
    if a.collective == (SERVER,) and (modes or a.plot):
        raise UsageError(f"--collective {SERVER} takes no --{(modes or ['plot'])[0]}")
    if not any(defined(op, dtype) for op in a.op for dtype in a.dtype):
        raise UsageError(f"op {', '.join(a.op)} is not defined on {', '.join(a.dtype)}")
    sizes = a.sizes or (SERVER_SIZES if a.collective == (SERVER,) else between(a.min, a.max))
    if min(sizes) < 1:
        raise UsageError("sizes must be positive")
    return Options(
        a.collective, tuple(a.algorithm.split(",")), a.dtype, a.op, tuple(sorted(set(sizes))), a.in_place,
        a.registered, a.plan, a.iters, a.budget, a.timeout, a.model, a.json, a.plot, a.tune, a.calibrate,
        a.rows,
    )  # fmt: skip


def between(smallest: int, largest: int) -> tuple[int, ...]:
    """Return the usual sizes from `smallest` to `largest`, both included."""
    return tuple(sorted({smallest, largest, *(size for size in LADDER if smallest <= size <= largest)}))
