"""Starts the ranks of a round, waits for their end, and collects what they noted."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import mpi
from tests.nemesis.rank import Log, perform, watch
from tests.nemesis.script import Round
from tests.processes import FileBootstrap

ALONE, UNDER_MPI = 25.0, 70.0  # seconds for a whole round
SHARED = ("/dev/shm", "/tmp")
FOREIGN = ("mpich_shm_", "sm_segment.", "ompi.", "prte.", "pmix", "hwloc")  # the MPI libraries' own


@dataclass
class Seen:
    """What a round left behind.

    Attributes
    ----------
    events : list of list of dict
        Per rank, in the order in which they were noted.
    stacks : str
        Where every rank was, if not all had ended at the deadline.
    left : list of str
        Processes and entries of shared folders that outlived it.
    """

    events: list[list[dict[str, Any]]]
    stacks: str = ""
    errors: str = ""
    left: list[str] = field(default_factory=list)

    def of(self, rank: int, *kinds: str) -> list[dict[str, Any]]:
        return [event for event in self.events[rank] if event["event"] in kinds]


def play(script: Round, launcher: str) -> Seen:
    """Run one round; `launcher` is "none", "mpich" or "openmpi"."""
    before = _entries()
    folder = tempfile.mkdtemp(prefix="nemesis-")  # a TemporaryDirectory would go with any fork that ends in order
    try:
        pause = script.fault.amount * 1e-3 if script.fault.kind == "stop" else 0.0
        Path(folder, "script.json").write_text(script.dump())
        seen = _forked(script, folder, pause) if launcher == "none" else _mpirun(script, folder, pause, launcher)
    finally:
        shutil.rmtree(folder)
    seen.left += sorted(_entries() - before)
    return seen


def _entries() -> set[str]:
    found = {f"{folder}/{name}" for folder in SHARED for name in os.listdir(folder)}  # noqa: PTH208
    return {path for path in found if "pyccl" in path and not Path(path).name.startswith(FOREIGN)}


def _forked(script: Round, folder: str, pause: float) -> Seen:
    """The ranks are children of this process, which has imported everything: they start in milliseconds."""

    def body(rank: int) -> Any:
        def run(log: Log) -> None:
            import pyccl

            comm = pyccl.Communicator.from_bootstrap(
                FileBootstrap(folder + "/start", rank, script.size), timeout=script.timeout
            )
            log("begun")
            perform(script.dump(), comm, log)

        return run

    watchers = []
    for rank in range(script.size):
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            with contextlib.suppress(BaseException):
                watch(folder, rank, pause, body(rank))
            os._exit(0)
        watchers.append(pid)
    end, running = time.monotonic() + ALONE, set(watchers)
    while running and time.monotonic() < end:
        running -= {pid for pid in running if os.waitpid(pid, os.WNOHANG)[0]}
        time.sleep(2e-3)
    stacks = _stacks(folder, script.size) if running else ""
    left = [f"a process of group {pid}" for pid in set(watchers) - running if _has_members(pid)]
    for pid in watchers:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        if pid in running:
            os.waitpid(pid, 0)
    return _collect(folder, script.size, stacks, left)


def _has_members(group: int) -> bool:
    """Whether a process group still has a member a second after its leader."""
    for _ in range(20):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.05)
    return True


def _mpirun(script: Round, folder: str, pause: float, launcher: str) -> Seen:
    found = mpi.launcher()
    if found.mpi != launcher:
        raise SystemExit(f"error: --mpi {launcher}, but {found.path} is of {found.mpi}")
    flags = ["-disable-auto-cleanup"] if launcher == "mpich" else ["--with-ft", "ulfm"]
    environ = {"TMPDIR": folder}
    if script.per_node:
        environ["PYCCL_NODE_SIZE"] = str(script.per_node)
    program = ["-m", "tests.nemesis.rank", folder, str(pause)]
    run = mpi.mpirun(program, script.size, timeout=UNDER_MPI, env=environ, check=False, flags=flags)
    late = run.returncode is None
    seen = _collect(folder, script.size, "the launcher did not end in time\n" if late else "", [])
    seen.errors += str(run)
    return seen


def _stacks(folder: str, size: int) -> str:
    """Ask every rank that still runs where it is."""
    pids = {}
    for rank in range(size):
        for event in _events(folder, rank):
            if event["event"] == "started":
                pids[rank] = event["pid"]
            elif event["event"] == "ended":
                pids.pop(rank, None)
    for pid in pids.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGUSR1)
    time.sleep(1.0)
    texts = [f"rank {rank}:\n{Path(folder, f'{rank}.err').read_text()}" for rank in pids]
    for pid in pids.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return "\n".join(texts) or "the ranks had ended, but not who watched them"


def _events(folder: str, rank: int) -> list[dict[str, Any]]:
    path = Path(folder, f"{rank}.jsonl")
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def _collect(folder: str, size: int, stacks: str, left: list[str]) -> Seen:
    errors = [path.read_text() for path in sorted(Path(folder).glob("*.err"))]
    return Seen([_events(folder, rank) for rank in range(size)], stacks, "".join(errors), left)
