"""Deaths, aborts and interruptions across nodes: PYCCL_NODE_SIZE makes several of this machine."""

from __future__ import annotations

import pytest

from tests import mpi

pytestmark = pytest.mark.mpi
ACROSS = 10.0  # seconds: the promise between nodes

# MPICH's proxy ends the ranks of a host when one ends by a signal, in spite of -disable-auto-cleanup, and sends the
# others SIGUSR1: each is run under a process that ignores that signal and always ends well.
SUPERVISED = """
import os, signal
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
child = os.fork()
if child:
    os.waitpid(child, 0)
    os._exit(0)
import sys, threading, time
import numpy as np, pyccl
from tests.processes import outcome
comm = pyccl.init(timeout=30)
rank, size = comm.rank, comm.size
def die():
    os.kill(os.getpid(), signal.SIGKILL)
def say(*words):
    os.write(1, (f"{rank}: " + " ".join(map(str, words)) + "\\n").encode())
comm.all_reduce(np.ones(3))
"""
END = "\ncomm.close()\nos._exit(0)  # MPI's own end would wait for the dead\n"


def run(code: str, size: int, per_node: int) -> dict[int, list[str]]:
    """Return what every rank said, by rank."""
    if mpi.launcher().mpi != "mpich":
        pytest.skip("mpirun of Open MPI ends the job with its first dead rank")
    out = mpi.mpirun(
        SUPERVISED + code + END, size, env={"PYCCL_NODE_SIZE": str(per_node)}, flags=["-disable-auto-cleanup"],
        timeout=60,
    ).stdout  # fmt: skip
    said: dict[int, list[str]] = {rank: [] for rank in range(size)}
    for line in out.splitlines():
        rank, _, words = line.partition(": ")
        said[int(rank)].append(words)
    return said


def parts(line: str) -> tuple[str, str, float]:
    kind, text, seconds = line.split("|")
    return kind, text, float(seconds)


WAITS = [
    "comm.all_reduce(np.ones(4))",
    "comm.all_reduce_async(np.ones(1_000_000)).wait()",
    "comm.recv(np.empty(3), (rank + 2) % size)",
    "comm.empty(10)",
    "comm.split(0)",
]


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize(("per_node", "victim"), [(2, 3), (2, 2), (1, 0)])
def test_a_death_is_named_on_every_node(wait: str, per_node: int, victim: int) -> None:
    code = f"""
if rank == {victim}:
    time.sleep(0.5)
    die()
say(outcome(lambda: {wait}))
say(outcome(comm.barrier))
say(comm.lost)
"""
    said = run(code, 4, per_node)
    for rank in set(range(4)) - {victim}:
        first, later, lost = said[rank]
        assert parts(first)[0] == "PeerLost", said
        assert f"rank {victim} died" in first
        assert parts(first)[2] < ACROSS
        assert parts(later)[0] == "PeerLost"
        assert parts(later)[2] < 0.1
        assert lost == f"({victim},)"


@pytest.mark.parametrize("per_node", [1, 2])
def test_abort_and_interruption_reach_every_node(per_node: int) -> None:
    code = """
if rank == 3:
    time.sleep(0.3)
    comm.abort("loss is nan")
say(outcome(lambda: comm.all_reduce(np.ones(3))))
"""
    for lines in run(code, 4, per_node).values():
        kind, text, seconds = parts(lines[0])
        assert kind == "PeerAborted"
        assert "rank 3 aborted it: loss is nan" in text
        assert seconds < 3
    code = """
if rank == 3:
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    say(outcome(lambda: comm.recv(np.ones(3), 0)))
else:
    say(outcome(lambda: comm.recv(np.ones(3), 3)))
"""
    said = run(code, 4, per_node)
    assert parts(said[3][0])[0] == "KeyboardInterrupt"
    assert parts(said[3][0])[2] < 1.5
    for rank in range(3):
        kind, text, seconds = parts(said[rank][0])
        assert kind == "PeerAborted"
        assert "rank 3 was interrupted by KeyboardInterrupt" in text
        assert seconds < 3


def test_a_stopped_rank_is_late_not_dead() -> None:
    code = """
if rank == 2:
    if os.fork() == 0:
        time.sleep(12)
        os.kill(os.getppid(), signal.SIGCONT)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGSTOP)
say(comm.all_reduce(np.ones(3))[0], comm.lost)
"""
    assert run(code, 4, 2) == {rank: ["4.0 ()"] for rank in range(4)}


def test_a_timeout_names_the_operation_and_who_is_missing_on_every_node() -> None:
    code = """
if rank == 1:
    time.sleep(3)
say(outcome(lambda: comm.all_reduce(np.ones(3), timeout=1)))
"""
    for rank, lines in run(code, 4, 2).items():
        kind, text, _ = parts(lines[0])
        assert kind == "Timeout"
        assert "all_reduce(dtype=float64, count=3, op=sum" in text, text
        assert "#2" in text
        assert rank == 1 or "rank 1 did not arrive (last seen: rank 1 in all_reduce(" in text, text


@pytest.mark.parametrize(("after", "victim"), [(0.0, 3), (0.03, 1), (0.07, 2), (0.2, 0)])
def test_a_kill_at_any_moment_of_a_stream_of_operations(after: float, victim: int) -> None:
    code = f"""
if rank == {victim}:
    threading.Timer({after}, die).start()
x = np.ones(30_000)
def forever():
    i = 0
    while True:
        assert (comm.all_reduce(x) == size).all()
        comm.all_reduce_async(x[: i % 100]).wait()
        out = comm.sendrecv(x[:5000], (rank + 1) % size, np.empty(5000), (rank - 1) % size)
        assert (out == 1).all()
        i += 1
say(outcome(forever))
"""
    said = run(code, 4, 2)
    for rank in set(range(4)) - {victim}:
        kind, text, _ = parts(said[rank][0])
        assert kind == "PeerLost", said
        assert f"rank {victim} died" in text
