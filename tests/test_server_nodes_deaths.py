"""Parameter servers over several nodes, and hosts: deaths, a network that splits, an MPI for one thread only."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests import mpi
from tests.server_nemesis.play import play
from tests.server_nemesis.trial import Fault, Trial, draw
from tests.test_hosts import hosts, wait_for_start, written

CABLE = Path(__file__).parent / "workers" / "server_cable.py"
pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("node_size", [1, 2])
@pytest.mark.parametrize("seed", range(500, 506))
def test_no_push_is_lost_or_applied_twice(seed: int, node_size: int) -> None:
    mpi.launcher()
    assert play(replace(draw(seed), node_size=node_size), "mpi") == []


@pytest.mark.parametrize("victim", [0, 1, 3])
@pytest.mark.parametrize("policy", ["Async()", "SSP(2)", "Sync()"])
def test_every_server_may_die(policy: str, victim: int) -> None:
    mpi.launcher()
    trial = Trial(victim, 4, [], 1, policy, 300, 100, 1, [Fault("kill", victim, 0.4, 1e-3)], 2)
    assert play(trial, "mpi") == []


LOST = """
import os, signal, time
import numpy as np, pyccl
from tests.processes import outcome
comm = pyccl.init(timeout=30)
ps = pyccl.ParameterServer(comm, servers=[1, 2])
for name in ("a", "b"):    # one on each server
    ps.table(name, init=np.zeros(8, np.float32), optimizer=pyccl.optim.SGD(1.0))
if comm.rank == 2:
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
if comm.rank in ps.workers:
    time.sleep(1.0)
    said = outcome(lambda: ps.pull("b"))
    ps.push("a", -np.ones(8, np.float32))
    time.sleep(0.5)
    os.write(1, f"{comm.rank}: {said}|{ps.pull('a').sum()}\\n".encode())
    ps.finish()
with ps.serve():
    pass
ps.close()
os._exit(0)
"""


def test_without_replicas_the_lost_shards_are_named_on_every_node(tmp_path: Path) -> None:
    program = tmp_path / "lost.py"
    program.write_text(LOST)
    flags = ["-disable-auto-cleanup"] if mpi.launcher().mpi == "mpich" else ["--with-ft", "ulfm"]
    ran = mpi.mpirun(
        ["-m", "pyccl.launch", str(program)], 4, flags=flags, env={"PYCCL_NODE_SIZE": "1"}, timeout=60, check=False
    )
    said = sorted(line for line in ran.stdout.splitlines() if ": " in line)
    assert [line.split(": ")[0] for line in said] == ["0", "3"], ran
    for line in said:
        assert "ServerLost|shard(s) 1 of 2" in line, ran
        assert line.endswith("|16.0"), ran


def test_an_mpi_for_one_thread_is_refused_on_every_rank() -> None:
    code = """
import mpi4py, os
mpi4py.rc.thread_level = "serialized" if os.environ.get("PMI_RANK", os.environ.get("PMIX_RANK")) == "1" else "multiple"
import pyccl, pytest
comm = pyccl.init()
with pytest.raises(pyccl.ConfigError, match="rank 1 has been given less than MPI_THREAD_MULTIPLE"):
    pyccl.ParameterServer(comm)
os.write(1, b"refused\\n")
"""
    assert mpi.mpirun(code, 2, env={"PYCCL_NODE_SIZE": "1"}).stdout.split() == ["refused"] * 2


@pytest.mark.hosts
@pytest.mark.parametrize(("module", "number", "ranks"), [("test_server_push_pull", 2, 2), ("test_server_rules", 3, 1)])
def test_hosts(module: str, number: int, ranks: int, tmp_path: Path) -> None:
    with hosts(number) as bed:
        program = ["-m", "tests.mpi_worker", f"tests.{module}", str(tmp_path)]
        run = bed.run(program, ranks, timeout=120, env={"PYCCL_TIMEOUT": "20"}, check=False)
    results = mpi.results(tmp_path)
    assert len(results) >= 3 * number * ranks, run
    assert not {key: error for key, error in results.items() if error}, run


@pytest.mark.hosts
def test_the_smaller_side_of_a_split_network_stops_and_the_larger_goes_on(tmp_path: Path) -> None:
    with hosts(3) as bed:
        program, seconds = [str(CABLE), str(tmp_path), "20"], 20
        thread = threading.Thread(target=lambda: bed.run(program, 2, timeout=seconds + 45, check=False))
        thread.start()
        wait_for_start(tmp_path, thread)
        bed.cut(2)
        try:
            said = written(tmp_path, 6, seconds + 20)
        finally:
            bed.down()  # ends the ranks, and with them the thread's run
            thread.join()
    assert said[:4] == ["ok (0, 1, 2, 3) True"] * 4, said  # no shard is lost: copies are on other hosts
    assert all("is cut off from the other nodes" in one for one in said[4:]), said
