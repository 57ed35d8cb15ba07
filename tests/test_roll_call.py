"""Who of this host's ranks has ended, over a /proc of files: no living rank is ever named, however slow its start."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pyccl.roll_call import GRACE, LOST, PAUSE, STARTING, RollCall

LAUNCHER, FIRST = 50, 100  # pids: the launcher, and rank 0
MPICH = {"PMI_RANK": "{}", "PMI_SIZE": "4", "PMI_FD": "9", "MPI_LOCALNRANKS": "4"}
OPENMPI = {
    "OMPI_COMM_WORLD_RANK": "{}", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_SIZE": "4", "PMIX_RANK": "{}",
    "PMIX_NAMESPACE": "job",
}  # fmt: skip


class Host:
    """Processes described by files, and a clock."""

    def __init__(self, proc: Path, environ: dict[str, str], ranks: int = 4) -> None:
        self.proc, self.environ, self.now = proc, environ, 0.0
        (proc / "self").mkdir()
        self.process(LAUNCHER, 1, {"PATH": "/bin"})
        self.process(1, 0, {})
        for rank in range(ranks):
            self.rank(rank)

    def process(self, pid: int, parent: int, environ: dict[str, str], state: str = "S", name: str = "a (b) c") -> None:
        folder = self.proc / str(pid)
        folder.mkdir(exist_ok=True)
        (folder / "stat").write_text(f"{pid} ({name}) {state} {parent} 1 1 0")
        (folder / "environ").write_text("".join(f"{key}={value}\0" for key, value in environ.items()))

    def rank(self, rank: int, **how: str) -> None:
        self.process(FIRST + rank, LAUNCHER, {k: v.format(rank) for k, v in self.environ.items()}, **how)

    def reap(self, pid: int) -> None:
        shutil.rmtree(self.proc / str(pid))

    def call(self, pid: int = FIRST) -> RollCall:
        return RollCall(pid, self.proc, lambda: self.now)

    def after(self, call: RollCall, seconds: float) -> tuple[int, ...]:
        """Return what it says in the end; nothing is said before."""
        end = self.now + seconds
        while self.now + PAUSE < end:
            assert call.ended() == ()
            self.now += PAUSE
        self.now = end + 2 * PAUSE
        return call.ended()


@pytest.fixture(params=[MPICH, OPENMPI], ids=["mpich", "openmpi"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    return Host(tmp_path, request.param)


ENDS: dict[str, Callable[[Host], None]] = {
    "reaped": lambda host: host.reap(FIRST + 2),
    "zombie": lambda host: host.rank(2, state="Z"),
    "supervisor that has lost its rank": lambda host: host.rank(2, name=LOST),
    "number taken by another process": lambda host: host.process(FIRST + 2, 1, {}),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_an_end_is_known_after_a_moment(host: Host, end: Callable[[Host], None]) -> None:
    call = host.call()
    assert host.after(call, 1.0) == ()
    end(host)
    assert host.after(call, GRACE) == (2,)


@pytest.mark.parametrize("level", ["itself", "below a supervisor", "below a shell and a supervisor"])
def test_ranks_may_be_below_supervisors(host: Host, level: str) -> None:
    pid = FIRST
    for _ in range(level.count("a ")):
        host.process(pid + 100, pid, {k: v.format(0) for k, v in host.environ.items()})
        pid += 100
    call = host.call(pid)
    assert call.possible
    assert host.after(call, 0.5) == ()
    host.reap(FIRST + 3)
    assert host.after(call, GRACE) == (3,)


def test_one_that_ended_before_the_first_look(host: Host) -> None:
    host.reap(FIRST + 1)
    assert host.after(host.call(), STARTING) == (1,)


def test_one_that_has_not_started_yet(host: Host) -> None:
    """The launcher has forked it: it will say who it is in a moment."""
    host.process(FIRST + 1, LAUNCHER, {"PATH": "/bin"})
    call = host.call()
    assert host.after(call, 5 * STARTING) == ()
    host.rank(1)
    assert host.after(call, STARTING) == ()
    host.reap(FIRST + 1)
    assert host.after(call, GRACE) == (1,)


def test_who_ends_because_of_another_is_not_named(host: Host) -> None:
    call = host.call()
    call.ended()
    host.rank(1, state="Z")
    host.rank(3, state="Z")
    for _ in range(2):
        host.now += PAUSE
        assert call.ended() == ()
    host.reap(FIRST + 2)
    host.now += GRACE
    assert call.ended() == (1, 3)
    host.now += 10
    assert call.ended() == (1, 3)


def test_without_the_launcher_nothing_can_be_said(host: Host) -> None:
    call = host.call()
    call.ended()
    host.reap(LAUNCHER)
    for rank in range(4):
        host.process(FIRST + rank, 1, {})
    assert host.after(call, 5.0) == ()


def test_another_job_of_the_same_launcher(tmp_path: Path) -> None:
    host = Host(tmp_path, OPENMPI)
    host.process(400, LAUNCHER, {**{k: v.format(2) for k, v in OPENMPI.items()}, "PMIX_NAMESPACE": "spawned"})
    call = host.call()
    call.ended()
    host.reap(FIRST + 2)
    assert host.after(call, GRACE) == (2,)


def test_of_several_hosts_only_who_was_seen_here(tmp_path: Path) -> None:
    host = Host(tmp_path, {**MPICH, "PMI_SIZE": "8"}, ranks=3)
    call = host.call()
    assert host.after(call, 5 * STARTING) == ()
    host.reap(FIRST + 2)
    assert host.after(call, GRACE) == (2,)


@pytest.mark.parametrize("environ", [{}, {"PMI_RANK": "x"}, {"PATH": "/bin"}])
def test_without_a_launcher(tmp_path: Path, environ: dict[str, str]) -> None:
    call = Host(tmp_path, environ).call()
    assert not call.possible
    assert call.ended() == ()


def test_losses_that_are_known_are_said_at_once(host: Host) -> None:
    call = host.call()
    call.note([3, 6])
    assert call.ended() == (3, 6)
