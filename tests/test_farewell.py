"""The end of a job: nobody is held in MPI_Finalize by one who has died, stands still, or was only a fork."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import pytest

from tests import mpi

pytestmark = pytest.mark.mpi

START = """
import os, signal, sys, time
import numpy as np, pyccl
comm = pyccl.init(timeout=2)
comm.all_reduce(np.ones(3))
"""


def launch(code: str) -> mpi.Run:
    flags = ["-disable-auto-cleanup"] if mpi.launcher().mpi == "mpich" else ["--with-ft", "ulfm"]
    return mpi.mpirun(["-m", "pyccl.launch", "-c", START + code], 3, flags=flags, check=False, timeout=30)


@pytest.mark.parametrize("close", ["", "comm.close()"])
@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(4)"])
def test_who_dies_after_the_last_operation_holds_nobody(end: str, close: str) -> None:
    run = launch(f"{close}\nif comm.rank == 1:\n    time.sleep(1)\n    {end}\nos.write(1, b'at the end ')")
    assert run.returncode is not None, run  # it ended
    assert run.stdout.count("at the end") == 2
    assert re.search(r"rank 1: (killed by SIGKILL|exit code 4)", run.stderr)


def test_a_rank_that_is_late_is_waited_for() -> None:
    run = launch("if comm.rank == 1:\n    time.sleep(4)\nos.write(1, b'at the end ')")
    assert run.returncode == 0, run
    assert run.stdout.count("at the end") == 3


def test_a_rank_that_ends_mpi_itself_holds_nobody() -> None:
    """It waits for the others in MPI_Finalize, not in their barrier; they go there after the timeout, 2 s."""
    mpi.mpirun(
        START + "if comm.rank == 1:\n    comm.close()\n    from mpi4py import MPI\n    MPI.Finalize()", 3, timeout=30
    )


def test_who_ends_mpi_makes_no_difference() -> None:
    """mpi4py does on the rank that has loaded it before pyccl."""
    rank = "int(os.environ.get('PMI_RANK') or os.environ['OMPI_COMM_WORLD_RANK'])"
    code = f"import os\nif {rank} == 1:\n    import mpi4py.MPI\n"
    mpi.mpirun(code + START.replace("timeout=2", "timeout=60"), 3, timeout=30)


@pytest.mark.parametrize("command", [("-c",), ("-m", "pyccl.launch", "-c")])
def test_who_stands_still_holds_nobody(command: tuple[str, ...]) -> None:
    if mpi.launcher().mpi != "mpich":
        pytest.skip("Open MPI's mpirun waits for the stopped rank itself")
    code = START + "if comm.rank == 1:\n    os.kill(os.getpid(), signal.SIGSTOP)\ncomm.all_reduce(np.ones(3))"
    run = mpi.mpirun([*command, code], 3, flags=["-disable-auto-cleanup"] * (len(command) > 1), check=False, timeout=30)
    ended = [line for line in run.stderr.splitlines() if "timed out after 2 s: rank 1 did not arrive" in line]
    assert ended, run
    if len(command) > 1:
        assert len(re.findall(r"rank [02]: exit code 1 after", run.stderr)) == 2, run
    else:
        assert run.returncode not in (None, 0), run


@pytest.mark.parametrize("end", ["sys.exit(0)", "os._exit(0)", "comm.close(); sys.exit(0)"])
def test_the_end_of_a_fork_ends_nothing_of_its_parent(end: str) -> None:
    code = f"pid = os.fork()\nif pid == 0:\n    {end}\nassert os.waitpid(pid, 0)[1] == 0\ncomm.all_reduce(np.ones(3))"
    mpi.mpirun(START + code, 2, timeout=30)


def test_a_signal_to_end_reaches_a_rank_that_is_stopped() -> None:
    stopped = "import os, signal; os.write(1, b'here\\n'); os.kill(os.getpid(), signal.SIGSTOP)"
    command = [sys.executable, "-m", "pyccl.launch", "-c", stopped]
    with subprocess.Popen(command, cwd=mpi.ROOT, stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == b"here\n"
        time.sleep(0.5)  # until it stands still
        supervisor.send_signal(signal.SIGTERM)
        try:
            assert supervisor.wait(10) == 128 + signal.SIGTERM
        finally:
            supervisor.kill()
