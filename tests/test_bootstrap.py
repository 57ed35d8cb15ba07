"""Where ranks come from: threads, a process on its own, MPI, and all the ways in which MPI can be the wrong one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

import pyccl
from pyccl.bootstrap import Bootstrap, SingleBootstrap, ThreadBootstrap
from pyccl.errors import Timeout
from pyccl.launcher import find_launcher
from tests import mpi

ROOT = Path(__file__).resolve().parents[1]
WORKER = str(Path(__file__).parent / "workers" / "bootstrap.py")
T = TypeVar("T")


def run_threads(size: int, program: Callable[[ThreadBootstrap], T]) -> list[T]:
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(program, ThreadBootstrap.group(size, timeout=20)))


def run_alone(program: str, **env: str) -> str:
    """Run Python code in a process of its own, without any launcher's variables; return what it has printed."""
    foreign = ("OMPI_", "PMI", "PMIX_", "SLURM_", "HYDI_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    path = os.pathsep.join(filter(None, [str(ROOT), environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore", **env},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


WORLD = """
from pyccl.bootstrap import world_bootstrap
from pyccl.errors import ConfigError
try:
    me = world_bootstrap(timeout=20)
    print(type(me).__name__, me.rank, me.size, me.allgather(b"x"), me.remote())
except ConfigError as error:
    print("ConfigError", error)
"""


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_threads_gather_in_rank_order(size: int) -> None:
    def program(me: ThreadBootstrap) -> list[list[bytes]]:
        rows = [me.allgather(bytes([me.rank]) * (me.rank + turn)) for turn in range(50)]
        me.barrier()
        return rows

    expected = [[bytes([r]) * (r + turn) for r in range(size)] for turn in range(50)]
    assert run_threads(size, program) == [expected] * size


def test_threads_split_by_color_then_key_then_rank() -> None:
    def program(me: ThreadBootstrap) -> tuple[int, int, list[bytes]] | None:
        part = me.split(None if me.rank == 4 else me.rank % 2, 0 if me.rank == 3 else 1)
        return None if part is None else (part.rank, part.size, part.allgather(bytes([me.rank])))

    even, odd = [b"\0", b"\2"], [b"\3", b"\1"]
    assert run_threads(5, program) == [(0, 2, even), (1, 2, odd), (1, 2, even), (0, 2, odd), None]


def test_a_missing_thread_is_a_timeout() -> None:
    first, _ = ThreadBootstrap.group(2, timeout=0.05)
    for _ in range(2):
        with pytest.raises(Timeout, match=r"2 threads .* 0\.05 s"):
            first.barrier()


def test_one_rank_needs_nobody() -> None:
    each: list[Bootstrap] = [SingleBootstrap(), *ThreadBootstrap.group(1)]
    for bootstrap in each:
        assert (bootstrap.rank, bootstrap.size, bootstrap.remote()) == (0, 1, None)
        assert bootstrap.allgather(b"abc") == [b"abc"]
        bootstrap.barrier()
        part = bootstrap.split(3, 0)
        assert part is not None
        assert part.size == 1
        assert bootstrap.split(None, 0) is None
        bootstrap.close()
        bootstrap.close()


@pytest.mark.parametrize("call", [lambda: ThreadBootstrap.group(0), lambda: ThreadBootstrap.group(1)[0].split(-1, 0)])
def test_bad_arguments(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="must"):
        call()


def test_the_environment_names_the_launcher() -> None:
    assert find_launcher({}) is None
    assert find_launcher({"PMI_SIZE": "many"}) is None
    for variable, name in [
        ("PMI_SIZE", "hydra"),
        ("OMPI_COMM_WORLD_SIZE", "Open MPI"),
        ("SLURM_STEP_NUM_TASKS", "srun"),
    ]:
        launcher = find_launcher({variable: "3"})
        assert launcher is not None
        assert (launcher.size, launcher.variable) == (3, variable)
        assert name in launcher.name


def test_importing_pyccl_imports_no_mpi() -> None:
    program = "import sys, pyccl.bootstrap; print('mpi4py' in sys.modules)"
    assert run_alone(program).strip() == "False"


@pytest.mark.mpi
@pytest.mark.parametrize("size", [2, 4])
def test_mpi_bootstrap(size: int) -> None:
    mpi.mpirun([WORKER, "gathers", "splits", "remotes"], size)


@pytest.mark.mpi
def test_a_missing_rank_is_a_timeout() -> None:
    mpi.mpirun([WORKER, "late"], 2)


def test_without_launcher_and_library_a_process_is_alone() -> None:
    nowhere = {"MPI4PY_LIBMPI": "/nonexistent/libmpi.so"}
    assert run_alone(WORLD, **nowhere).strip() == "SingleBootstrap 0 1 [b'x'] None"
    refused = run_alone(WORLD, PMI_SIZE="2", **nowhere)
    assert "mpi4py finds no MPI library: pip install 'pyccl-collectives[mpich]'" in refused
    hidden = "import sys; sys.modules['mpi4py'] = None\n" + WORLD
    assert run_alone(hidden).strip() == "SingleBootstrap 0 1 [b'x'] None"
    assert "mpi4py is not installed" in run_alone(hidden, PMI_SIZE="2")


@pytest.mark.mpi
def test_a_foreign_launcher_is_refused() -> None:
    mine = mpi.launcher().mpi
    assert run_alone(WORLD).strip() == "MpiBootstrap 0 1 [b'x'] None"
    foreign = {"mpich": "OMPI_COMM_WORLD_SIZE", "openmpi": "PMI_SIZE"}[mine]
    library = {"mpich": "MPICH", "openmpi": "Open MPI v"}[mine]
    for variable in (foreign, "SLURM_STEP_NUM_TASKS"):
        text = run_alone(WORLD, **{variable: "2"})
        assert "ConfigError the launcher belongs to another MPI than mpi4py" in text
        assert f"has started 2 ranks ({variable}=2), but mpi4py has loaded {library}" in text


@pytest.mark.mpi
def test_mpi_must_be_alive() -> None:
    off = "import mpi4py; mpi4py.rc.initialize = False\n" + WORLD
    assert "MPI is not initialised" in run_alone(off)
    over = "from pyccl.mpi_library import import_mpi; import_mpi().Finalize()\n" + WORLD
    assert "MPI has been finalised" in run_alone(over)


@pytest.mark.mpi
def test_a_lower_thread_level_is_reported() -> None:
    program = "import mpi4py; mpi4py.rc.thread_level = 'single'\n" + WORLD + "print(me.thread_multiple)"
    assert run_alone(program).split()[-1] == "False"


@pytest.mark.mpi
def test_a_second_mpi_library_is_refused(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to build a second MPI library with")
    source, library = tmp_path / "second.c", tmp_path / "second.so"
    body = '{ *n = (int)strlen(strcpy(text, "Second MPI 1.0")); return 0; }'
    source.write_text(f"#include <string.h>\nint MPI_Get_library_version(char* text, int* n) {body}\n")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    text = run_alone(WORLD, LD_PRELOAD=str(library))
    assert "ConfigError two MPI libraries in this process: mpi4py talks to Second MPI 1.0" in text


def test_init_takes_no_word_for_a_flag():
    with pytest.raises(TypeError, match="deterministic must be True or False, got str"):
        pyccl.init(deterministic="no")


def test_a_second_init_does_not_change_the_timeout():
    with pyccl.init(timeout=50) as comm:
        assert pyccl.init() is comm
        assert pyccl.init(timeout=50) is comm
        with pytest.raises(ValueError, match="with a timeout of 50 s"):
            pyccl.init(timeout=60)
        with pytest.raises(ValueError, match="timeout must be a positive number"):
            pyccl.init(timeout=-1)


BAD_ON_ONE = r"""
import os
if int(os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK", "0"))) == 1:
    os.environ["PYCCL_WAIT"] = "bad"
import pyccl
try:
    pyccl.init(timeout=20)
except (pyccl.ConfigError, pyccl.PeerAborted) as error:
    print(f"{type(error).__name__} {error}\n", end="", flush=True)
"""


@pytest.mark.mpi
def test_a_bad_variable_on_one_rank_is_told_to_all():
    lines = sorted(mpi.mpirun(BAD_ON_ONE, 2).stdout.splitlines())
    assert lines[0].startswith("ConfigError PYCCL_WAIT must be one of"), lines
    assert lines[1].startswith("PeerAborted rank 1 could not open the communicator: ConfigError: PYCCL_WAIT"), lines


def test_rank_and_size_cannot_be_written():
    with pyccl.Communicator.from_bootstrap(SingleBootstrap()) as comm:
        for name in ("rank", "size", "nodes", "node_rank", "node_size"):
            with pytest.raises(AttributeError):
                setattr(comm, name, 7)
