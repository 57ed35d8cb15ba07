"""The start of a job: a rank that ends before all have come is named by the others, soon, and nobody hangs."""

from __future__ import annotations

import re

import pytest

from tests import mpi

pytestmark = pytest.mark.mpi
SOON = 4.0  # seconds; about 1 on an idle machine, and MPI's own start may be running
SURVIVE = {"mpich": ["-disable-auto-cleanup"], "openmpi": ["--with-ft", "ulfm"]}
RANK = "int(os.environ.get('PMI_RANK') or os.environ['OMPI_COMM_WORLD_RANK'])"

# argv: what rank 1 does
EARLY = f"""
import os, signal, sys, time
rank = {RANK}
if rank == 1:
    time.sleep(0.3)
    if sys.argv[1] in ("after mpi", "late"):
        from pyccl.mpi_library import import_mpi
        import_mpi()
    if sys.argv[1] == "late":
        time.sleep(3)
    if sys.argv[1] == "raise":
        import no_such_module
    if sys.argv[1] == "exit":
        sys.exit(0)
    os.kill(os.getpid(), signal.SIGKILL)
from tests.processes import outcome
import pyccl
said = outcome(lambda: pyccl.init(timeout=20))
os.write(1, f"{{rank}}: {{said}}\\n".encode())
sys.exit(0)  # another code may make mpirun end the others
"""


def launch(code: str, how: str, *, supervised: bool = True, env: dict[str, str] | None = None) -> mpi.Run:
    flags = SURVIVE[mpi.launcher().mpi] if supervised else []
    module = ["-m", "pyccl.launch"] if supervised else []
    return mpi.mpirun([*module, "-c", code, how], 3, flags=flags, check=False, timeout=40, env=env)


@pytest.mark.parametrize("how", ["raise", "exit", "kill"])
@pytest.mark.parametrize("supervised", [True, False])
def test_who_ends_before_mpi_has_started(how: str, supervised: bool) -> None:
    family = mpi.launcher().mpi
    if not supervised and (how == "kill" or (family, how) == ("openmpi", "raise")):
        pytest.skip("mpirun ends the others itself")
    run = launch(EARLY, how, supervised=supervised)
    assert run.returncode not in (None, 0), run
    told = re.findall(
        r"^pyccl: rank 1 ended before MPI had started on all ranks; rank (\d) gives up$", run.stderr, re.M
    )
    assert set(told) <= {"0", "2"}, run
    if family == "mpich":  # Open MPI's mpirun may end the others before they can tell: then nobody hangs, at least
        assert len(told) == 2 or (told and not supervised), run  # the first may end the others


@pytest.mark.parametrize("how", ["after mpi", "late"])
@pytest.mark.parametrize("per_node", [3, 1])
def test_who_ends_before_the_others_have_a_communicator(how: str, per_node: int) -> None:
    run = launch(EARLY, how, env={"PYCCL_NODE_SIZE": str(per_node)})
    assert run.returncode is not None, run
    for rank in (0, 2):
        lines = re.findall(rf"^{rank}: (.*)$", run.stdout, re.M)
        assert len(lines) == 1, run
        kind, text, seconds = lines[0].split("|")
        assert kind == "PeerLost", run
        assert text == "rank 1 ended before all ranks had come: no communicator can be made"
        assert float(seconds) < SOON + 3 * (how == "late")
    assert "pyccl.launch: rank 1: killed by SIGKILL" in run.stderr


AGAIN = """
import os, signal, sys
import numpy as np, pyccl
from mpi4py import MPI
from tests.processes import outcome
comm = pyccl.init(timeout=20)
comm.barrier()
rank = comm.rank
if rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
part = outcome(lambda: [comm.barrier() for _ in iter(int, 1)])
if sys.argv[1] == "closed":
    comm.close()
    os.write(1, f"{rank}: {outcome(pyccl.init)}\\n".encode())
os.write(1, f"{rank}: {outcome(lambda: pyccl.Communicator(MPI.COMM_WORLD))}\\n".encode())
"""


@pytest.mark.parametrize("how", ["open", "closed"])
@pytest.mark.parametrize("per_node", [3, 1])
def test_after_a_loss_a_communicator_with_the_lost_fails_at_once(how: str, per_node: int) -> None:
    run = launch(AGAIN, how, env={"PYCCL_NODE_SIZE": str(per_node)})
    lines = run.stdout.splitlines()
    assert sorted(line[0] for line in lines) == sorted("02" * (2 if how == "closed" else 1)), run
    for line in lines:
        kind, text, seconds = line[3:].split("|")
        assert (kind, text.partition(" ended")[0]) == ("PeerLost", "rank 1"), run
        assert float(seconds) < 0.4  # shorter than a roll call takes


def test_a_rank_that_is_only_late_is_waited_for() -> None:
    run = launch(
        f"import os, time\ntime.sleep(3 * ({RANK} == 1))\nimport pyccl\nos.write(1, str(pyccl.init().size).encode())",
        "",
    )
    assert run.returncode == 0, run
    assert run.stdout == "333"


def test_mpis_own_start_has_a_deadline() -> None:
    """A rank that lives and does not come: nobody can be named, but nobody waits for ever."""
    code = f"""
import os, time
time.sleep(8 * ({RANK} == 1))
import pyccl, pyccl.roll_call
pyccl.roll_call.LEAST = 2
pyccl.init(timeout=1)
"""
    run = launch(code, "")
    assert run.returncode == 1, run
    assert "pyccl: MPI has not started within 2 s: not all ranks have come; rank 0 gives up" in run.stderr


def test_who_gives_up_waiting_does_not_wait_at_the_end() -> None:
    code = f"""
import os, signal
from pyccl.mpi_library import import_mpi
import_mpi()
if {RANK} == 1:
    os.kill(os.getpid(), signal.SIGSTOP)
import pyccl
pyccl.init(timeout=2)
"""
    if mpi.launcher().mpi != "mpich":
        pytest.skip("Open MPI's mpirun waits for the stopped rank itself")
    run = mpi.mpirun(["-c", code], 3, check=False, timeout=30)
    assert run.returncode not in (None, 0), run
    assert "Timeout: bootstrap allgather: not all 3 ranks came within 2 s" in run.stderr
