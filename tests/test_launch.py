"""python -m pyccl.launch: who was killed is told, the others end well, and the exit status does not lie."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import pytest

from tests import mpi

ULFM = ["--with-ft", "ulfm"]
SURVIVE = "docs/examples/survive.py"

# argv: the ranks that are killed, the exit code of the others, what to do at a loss
PROGRAM = """
import atexit, os, signal, sys
if sys.argv[3] == "mpi first":
    from mpi4py import MPI
import numpy as np, pyccl
comm = pyccl.init(timeout=30)
me, victims = comm.rank, eval(sys.argv[1])
atexit.register(lambda: os.write(1, b"at exit\\n"))
comm.all_reduce(np.ones(3))
if me in victims:
    os.kill(os.getpid(), signal.SIGKILL)
try:
    while victims:
        comm.all_reduce(np.ones(3))
except pyccl.PeerLost:
    if sys.argv[3] == "raise":
        raise
    while comm.size > 4 - len(victims):
        comm = comm.shrink()
        try:
            comm.all_reduce(np.ones(3))
        except pyccl.PeerLost:
            pass
sys.stdout.write(f"{me} of {comm.size} sums {comm.all_reduce(np.ones(3))[0]:g}\\n")  # nobody flushes it
sys.exit(int(sys.argv[2]))
"""


def launch(
    arguments: Sequence[str], *, flags: Sequence[str] | None = None, env: dict[str, str] | None = None
) -> mpi.Run:
    if flags is None:
        flags = ["-disable-auto-cleanup"] if mpi.launcher().mpi == "mpich" else ULFM
    return mpi.mpirun(["-m", "pyccl.launch", *arguments], 4, flags=flags, check=False, timeout=60, env=env)


def alone(*arguments: str, **options: str) -> subprocess.CompletedProcess[str]:
    """Run it without mpirun."""
    command = [sys.executable, "-m", "pyccl.launch", *arguments]
    return subprocess.run(command, cwd=mpi.ROOT, capture_output=True, text=True, timeout=60, check=False, **options)


@pytest.mark.mpi
@pytest.mark.parametrize("victims", [[1], [0, 2]])
@pytest.mark.parametrize("how", ["", "mpi first"])
def test_survivors_go_on_and_end_with_what_they_have_said(victims: list[int], how: str) -> None:
    run = launch(["-c", PROGRAM, str(victims), "0", how])
    others = [rank for rank in range(4) if rank not in victims]
    assert run.returncode == 0, run
    lines = run.stdout.splitlines()
    assert sorted(line for line in lines if "sums" in line) == [
        f"{r} of {len(others)} sums {len(others)}" for r in others
    ]
    assert lines.count("at exit") == len(others)
    for rank in victims:
        assert re.search(
            rf"^pyccl.launch: rank {rank}: killed by SIGKILL after \d+\.\d s$", run.stderr, re.MULTILINE
        ), run


@pytest.mark.mpi
def test_the_survivors_exit_code_is_the_jobs() -> None:
    run = launch(["-c", PROGRAM, "[3]", "7", ""])
    assert run.returncode == 7, run
    assert len(re.findall(r"rank [012]: exit code 7 after", run.stderr)) == 3


@pytest.mark.mpi
def test_a_loss_that_nobody_handles_fails_the_job() -> None:
    run = launch(["-c", PROGRAM, "[3]", "0", "raise"])
    assert run.returncode == 1, run
    assert "PeerLost: rank 3 died" in run.stderr
    assert "rank 3: killed by SIGKILL" in run.stderr


@pytest.mark.mpi
def test_a_job_that_is_killed_whole_has_failed() -> None:
    if mpi.launcher().mpi != "mpich":
        pytest.skip("mpirun --with-ft ulfm of Open MPI returns 0 whatever becomes of the ranks that are killed")
    run = launch(["-c", PROGRAM, "[0, 1, 2, 3]", "0", ""])
    assert run.returncode not in (0, None), run


@pytest.mark.mpi
def test_without_a_loss_all_is_as_without_it() -> None:
    run = launch(["-c", PROGRAM, "[]", "0", ""], flags=[])
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.count("of 4 sums 4") == run.stdout.count("at exit") == 4


@pytest.mark.mpi
def test_plain_mpirun_ends_the_job_of_a_killed_rank() -> None:
    run = mpi.mpirun(["-c", PROGRAM, "[1]", "0", "raise"], 4, check=False, timeout=60)
    assert run.returncode not in (0, None), run


@pytest.mark.mpi
@pytest.mark.parametrize("launched", [True, False])
@pytest.mark.parametrize("per_node", [4, 2])
def test_the_example_loses_a_rank_and_goes_on(launched: bool, per_node: int) -> None:
    mpich = mpi.launcher().mpi == "mpich"
    if mpich and not launched:
        pytest.skip("mpirun of MPICH ends the ranks of a host when one is killed: pyccl.launch is there for that")
    env = {"PYCCL_NODE_SIZE": str(per_node)}
    if launched:
        run = launch([SURVIVE, "20"], env=env)
    else:
        run = mpi.mpirun([SURVIVE, "20"], 4, flags=ULFM, check=False, timeout=60, env=env)
    if mpich and per_node == 2:
        assert run.returncode == 1
        assert "the ranks of several nodes can regroup under Open MPI only" in run.stderr
        return
    assert run.returncode == 0, run
    first, last = run.stdout.splitlines()
    assert first == "lost rank 1 at step 20; 3 go on"
    assert re.fullmatch(r"3 ranks, final loss \d\.\de-\d\d", last)


def test_alone_it_is_python() -> None:
    code = "import sys, signal as s; print(sys.argv, s.getsignal(s.SIGUSR1) == s.SIG_IGN, input()); sys.exit(3)"
    ended = alone("-X", "dev", "-c", code, "a b", input="in")
    assert ended.returncode == 3
    assert ended.stdout == "['-c', 'a b'] True in\n"
    assert re.fullmatch(r"pyccl.launch: process \d+: exit code 3 after \d+\.\d s\n", ended.stderr), ended.stderr
    ended = alone("-c", "import os; os.kill(os.getpid(), 11)")
    assert ended.returncode == 128 + signal.SIGSEGV
    assert "killed by SIGSEGV" in ended.stderr


def test_help_and_no_program() -> None:
    ended = alone("--help")
    assert ended.returncode == 0
    assert "mpirun -disable-auto-cleanup -n 4 python -m pyccl.launch train.py" in ended.stdout
    ended = alone()
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("usage: ")


CHILD = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"


def supervised(code: str) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "pyccl.launch", "-c", code], cwd=mpi.ROOT, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def ends_soon(pid: int) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_that_end_are_handed_on(number: signal.Signals) -> None:
    process, pid = supervised(CHILD)
    process.send_signal(signal.SIGUSR1)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert f"killed by {number.name}" in err
    assert ends_soon(pid)


def test_sigusr2_is_handed_on_and_the_program_decides() -> None:
    code = "import signal, os; print(os.getpid(), flush=True); print(signal.sigwait([signal.SIGUSR2]))"
    process, _ = supervised("import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2]); " + code)
    process.send_signal(signal.SIGUSR2)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out.strip(), err) == (0, "12", "")


def test_a_rank_does_not_outlive_its_supervisor() -> None:
    process, pid = supervised(CHILD)
    process.kill()
    process.communicate(timeout=20)
    assert ends_soon(pid)


@pytest.mark.mpi
@pytest.mark.parametrize("flagged", [True, False])
def test_which_flag_would_let_the_others_live_is_told_once(flagged: bool) -> None:
    mpich = mpi.launcher().mpi == "mpich"
    run = launch(["-c", PROGRAM, "[0, 2]" if flagged else "[1]", "0", ""], flags=None if flagged else [])
    told = re.findall(r"^pyccl.launch: mpirun may end all ranks .*mpirun (.*) lets the others go on$", run.stderr, re.M)
    assert told == ([] if flagged else ["-disable-auto-cleanup" if mpich else "--with-ft ulfm"]), run
    assert "killed by SIGKILL" in run.stderr
