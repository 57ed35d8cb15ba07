"""`python -m pyccl.bench`: from a command line to tables, files and an exit status."""

from __future__ import annotations

import sys
import time
import traceback
from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn

from pyccl.launcher import find_launcher, launched_rank

from . import interface, table
from .buffers import OutOfMemoryError
from .calibrate import calibrate, sleep_until_all, write_calibration
from .cases import REDUCING, Case, make_cases
from .figures import write_figures
from .observed import observe
from .options import SERVER, Options, UsageError, parse
from .plot import write_plot
from .report import describe, write_json
from .server import run_server
from .sweep import sweep
from .training import Settings, run_model
from .tune import tune, write_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .interface import World

ALONE = (
    "# This is a single rank, so nothing was communicated. To start more: mpirun -n 8 python -m pyccl.bench\n"
    "# (the extra mpich of pyccl-collectives brings an mpirun; Open MPI's wants --oversubscribe beyond the cores)"
)


def main(argv: Sequence[str] | None = None, connect: Callable[[], World] = interface.connect) -> int:
    """Run the bench; return its exit status."""
    try:
        options = parse(argv)
    except UsageError as error:
        return refuse(error, launched_rank() or 0)
    try:
        world = connect()
    except Exception:
        abort(launched_rank() or 0)
    try:
        launcher = find_launcher()
        if launcher is not None and launcher.size != world.size:
            raise UsageError(f"mpirun started {launcher.size} ranks, MPI sees {world.size}: they are of different MPIs")
        status = run(world, options)
    except (UsageError, OutOfMemoryError) as error:  # every rank raises the same
        status = refuse(error, world.rank)
    except Exception:
        abort(world.rank)
    with world.comm:
        return status


def run(world: World, options: Options) -> int:
    """Do what the options ask for; return the exit status."""
    if options.collectives == (SERVER,):
        return run_ps(world, options)
    if options.calibrate:
        return run_calibrate(world, options)
    if options.tune and world.size == 1:
        raise UsageError("--tune compares algorithms, and one rank has none: start more with mpirun")
    if options.tune:
        thresholds = tune(world, tunable(world, options), options.budget, options.iters, options.timeout)
        if world.rank == 0:
            write_table(options.tune, thresholds)
        world.say(f"# thresholds written to {options.tune}")
        return 0
    if options.plot and find_spec("matplotlib") is None:
        raise UsageError("--plot draws with matplotlib: install the extra plot")
    chosen = [] if options.model else cases(world, options)
    wanted = settings(world, options) if options.model else None
    environment = describe(world)
    world.say(table.title(environment))
    if wanted is not None:
        rows = run_model(world, wanted)
    else:
        rows = sweep(
            world, chosen, library=environment["mpi_library"],
            budget=options.budget, iterations=options.iters,
            timeout=options.timeout, plan=options.plan,
        )  # fmt: skip
        world.say(table.summary(rows, environment["mpi_library"]))
    if world.size == 1:
        world.say(ALONE)
    if world.rank == 0 and options.json:
        write_json(options.json, environment, rows)
    if world.rank == 0 and options.plot:
        write_plot(options.plot, rows, environment)
    return 1 if any(row.wrong for row in rows) else 0


def run_ps(world: World, options: Options) -> int:
    """Time the parameter server."""
    environment = describe(world)
    world.say(table.title(environment))
    figures = run_server(world, options.sizes, options.rows, options.iters)
    if world.size == 1:
        world.say(ALONE)
    if world.rank == 0 and options.json:
        write_figures(options.json, environment, figures)
    return 1 if any(one.wrong for one in figures) else 0


def run_calibrate(world: World, options: Options) -> int:
    """Measure and write the calibration file."""
    assert options.calibrate is not None
    try:
        transports = calibrate(world, options.sizes, options.budget)
    except ValueError as error:
        raise UsageError(str(error)) from error
    for t in transports:
        world.say(
            f"{t.name}: alpha {t.line.alpha * 1e6:.3g} us, beta {t.line.beta * 1e9:.4g} ns/B, gamma "
            f"{t.gamma * 1e9:.4g} ns/B, fit error {t.line.median_error:.0%} median, {t.line.max_error:.0%} at worst"
        )
    observed = observe(world, options.sizes[-1], options.budget / 2, sleep_until_all)
    write_calibration(options.calibrate, world, transports, observed)
    world.say(f"# cost model written to {options.calibrate}")
    return 0


def algorithms(world: World, options: Options) -> dict[str, list[str]]:
    """Return the algorithms to time of every chosen collective; collectives without any are left out."""
    if options.algorithms == ("auto",):
        return {kind: ["auto"] for kind in options.collectives}
    found: dict[str, list[str]] = {}
    for kind in options.collectives:
        if kind in ("sendrecv", "barrier"):
            continue
        known = ["auto", *(name for name in world.library.algorithms(kind, world.size) if name != "auto")]
        wanted = known[1:] if options.algorithms == ("all",) else [n for n in options.algorithms if n in known]
        if wanted:
            found[kind] = wanted
    unknown = set(options.algorithms) - {"all"} - {name for names in found.values() for name in names}
    if unknown or not found:
        raise UsageError(f"no algorithm {', '.join(sorted(unknown))} for {', '.join(options.collectives)}")
    return found


def cases(world: World, options: Options) -> list[Case]:
    """Return the cases of a sweep."""
    chosen = algorithms(world, options)
    found = make_cases(
        chosen, options.sizes, dtypes=options.dtypes, ops=options.ops, algorithms=chosen, size=world.size,
        registered=options.registered, in_place=options.in_place,
    )  # fmt: skip
    if not found:
        raise UsageError("nothing to time: no such op on any of these dtypes")
    return found


def tunable(world: World, options: Options) -> list[Case]:
    """Return the cases whose algorithm `--tune` chooses."""
    kinds = [kind for kind in options.collectives if kind not in ("sendrecv", "barrier")]
    if not kinds:
        raise UsageError("--tune needs a collective with more than one algorithm")
    return make_cases(
        kinds, options.sizes, dtypes=options.dtypes[:1], ops=options.ops[:1], algorithms={}, size=world.size,
        registered=options.registered, in_place=options.in_place,
    )  # fmt: skip


def settings(world: World, options: Options) -> Settings:
    """Return what a model run needs."""
    (algorithm,) = algorithms(world, _only_all_reduce(options))["all_reduce"]
    template = Case(
        REDUCING[0], options.dtypes[0], options.ops[0], 1, world.size, algorithm, options.registered, in_place=True
    )
    assert options.model is not None
    return Settings(options.model, template, options.budget, options.iters, options.timeout, options.plan)


def _only_all_reduce(options: Options) -> Options:
    from dataclasses import replace

    return replace(options, collectives=("all_reduce",))


def refuse(error: Exception, rank: int) -> int:
    """Say once, in one line, why nothing was done; return the exit status."""
    if rank == 0:
        print(f"pyccl.bench: error: {error}", file=sys.stderr, flush=True)
    return 2


def abort(rank: int) -> NoReturn:
    """Print the error being handled and end all ranks: the others may be waiting for this one.

    Higher ranks wait a little, so that of an error on all of them one is printed.
    """
    trace = traceback.format_exc()
    time.sleep(min(0.1 * rank, 5.0))
    print(f"rank {rank}: {trace}", file=sys.stderr, flush=True)
    try:
        from mpi4py import MPI
    except ImportError:
        sys.exit(1)
    if MPI.Is_initialized() and MPI.COMM_WORLD.size > 1:
        MPI.COMM_WORLD.Abort(1)
    sys.exit(1)
