"""Which of this host's ranks have ended, known before any of them has spoken: read from /proc.

The ranks are children of their launcher's process, at once or below a shell or a supervisor; each child's environment
says which rank it is. What the launcher has started has ended when its process is gone or a zombie, or when its
supervisor (`pyccl.launch`) calls itself lost.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from pyccl.launcher import find_launcher, launched_rank

__all__ = ["LOST", "RollCall", "ancestors", "children", "named", "roll_call", "watched"]

LOST = "pyccl-lost"  # the name of a supervisor whose rank was killed; Linux keeps 15 characters
PAUSE = 0.2  # seconds between two looks
GRACE = 0.5  # seconds that a rank's end must be known: what it has sent before may still arrive
STARTING = 1.0  # the same for a rank that was never seen
LEAST = 60.0  # seconds that MPI's own start may take, whatever the timeout: it is slow on a busy machine
_JOB = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMI_FD", "PMIX_RANK", "PMIX_NAMESPACE", "SLURM_PROCID")
_LOCAL = {"OMPI_COMM_WORLD_LOCAL_SIZE": "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS": "PMI_SIZE"}


def _stat(folder: Path) -> tuple[str, str, int] | None:
    """Return a process's name, state and parent; None if it has gone."""
    try:
        name, rest = (folder / "stat").read_text(errors="replace").split("(", 1)[1].rsplit(") ", 1)
        state, parent = rest.split()[:2]
    except (OSError, ValueError, IndexError):
        return None
    return name, state, int(parent)


def children(parent: int, proc: Path = Path("/proc")) -> dict[int, str]:
    """Return the names of the processes that `parent` has started, by pid; not of zombies."""
    found = {}
    for folder in proc.iterdir():
        status = _stat(folder) if folder.name.isdigit() else None
        if status is not None and status[2] == parent and status[1] not in "ZX":
            found[int(folder.name)] = status[0]
    return found


def ancestors(pid: int, proc: Path = Path("/proc")) -> Iterator[int]:
    """Yield the parent, its parent, and so on."""
    while (status := _stat(proc / str(pid))) is not None and status[2] > 0:
        pid = status[2]
        yield pid


def named(ranks: Iterable[int]) -> str:
    """Return "rank 1", or "ranks 1, 2"."""
    words = [str(rank) for rank in ranks]
    return f"rank{'s' if len(words) > 1 else ''} {', '.join(words)}"


class RollCall:
    """The ranks of this process's host.

    Parameters
    ----------
    pid : int, optional
        One of the ranks; default: this process.
    proc : Path, optional
        Where the processes are described.
    clock : callable, optional
        Seconds, monotonic.
    """

    def __init__(
        self, pid: int | None = None, proc: Path = Path("/proc"), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._proc, self._clock = proc, clock
        self._branch, self._launcher = self._climb(os.getpid() if pid is None else pid)
        mine = self._environ(self._branch) or {}
        self._space = mine.get("PMIX_NAMESPACE")
        counts = [(mine.get(here, ""), mine.get(all_, "")) for here, all_ in _LOCAL.items() if here in mine]
        here, all_ = counts[0] if counts else ("", "")
        self._here = int(here) if here.isdecimal() else None
        self._alone = self._here is not None and here == all_  # then this host has all ranks, and their numbers
        self._pids: dict[int, int] = {}
        self._since: dict[int, float] = {}  # when a rank was first found to have ended
        self._lost: set[int] = set()
        self._next, self._answer = 0.0, tuple[int, ...]()

    @property
    def possible(self) -> bool:
        """Whether this process has been started by a launcher that is known."""
        return self._launcher > 0

    def note(self, ranks: Iterable[int]) -> None:
        """Hear of ranks, of any host, that are known to be lost."""
        self._lost |= set(ranks)

    def ended(self) -> tuple[int, ...]:
        """Return the ranks that have ended, with those noted; looks every `PAUSE` at most.

        Of a job in which one rank's end makes the next one end, only those are named that have gone with the first.
        """
        now = self._clock()
        if self.possible and now >= self._next:
            self._next = now + PAUSE
            self._look(now)
            due = [self._since[r] for r in self._since if now - self._since[r] >= self._patience(r)]
            self._answer = tuple(r for r in self._since if self._since[r] <= min(due) + PAUSE) if due else ()
        return tuple(sorted({*self._answer, *self._lost}))

    def _patience(self, rank: int) -> float:
        return GRACE if rank in self._pids else STARTING

    def _look(self, now: float) -> None:
        me = _stat(self._proc / str(self._branch))
        if me is None or me[2] != self._launcher:  # the launcher itself has gone: nothing can be said
            self._since.clear()
            return
        absent = self._find()
        gone = {rank for rank, pid in self._pids.items() if not self._lives(pid)} | absent
        self._since = {rank: self._since.get(rank, now) for rank in gone}

    def _lives(self, pid: int) -> bool:
        status = _stat(self._proc / str(pid))
        return status is not None and status[2] == self._launcher and status[1] not in "ZX" and status[0] != LOST

    def _find(self) -> set[int]:
        """Learn whose process is which; return the ranks of this host that have none, if that is certain."""
        if self._here is None or len(self._pids) >= self._here:
            return set()
        certain = self._alone
        for pid in children(self._launcher, self._proc):
            environ = self._environ(pid)
            rank = None if environ is None else launched_rank(environ)
            if rank is None:  # about to become a rank, or something that cannot be read
                certain = False
            elif environ is not None and environ.get("PMIX_NAMESPACE") == self._space:
                self._pids[rank] = pid
        return set(range(self._here)) - set(self._pids) if certain else set()

    def _climb(self, pid: int) -> tuple[int, int]:
        """Return the topmost process that has this rank's environment, and its parent, which is the launcher."""
        environ = self._environ(pid)
        if environ is None or launched_rank(environ) is None:
            return pid, 0
        mine = [environ.get(name) for name in _JOB]
        for parent in ancestors(pid, self._proc):
            above = self._environ(parent)
            if above is None:
                break
            if [above.get(name) for name in _JOB] != mine:
                return pid, parent
            pid = parent
        return pid, 0

    def _environ(self, pid: int) -> Mapping[str, str] | None:
        try:
            text = (self._proc / str(pid) / "environ").read_text(errors="replace")
        except OSError:
            return None
        return dict(word.split("=", 1) for word in text.split("\0") if "=" in word)


@cache
def _of(pid: int) -> RollCall:
    return RollCall(pid)


def roll_call() -> RollCall:
    """Return this process's, always the same one: it remembers whom it has seen."""
    return _of(os.getpid())


@contextmanager
def watched(timeout: float) -> Iterator[None]:
    """End this process, with a line on stderr, if a rank ends during the block, which must let other threads run.

    Also if the block takes longer than `timeout` seconds, or `LEAST`.
    """
    if not roll_call().possible and find_launcher() is None:
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_watch, args=(done, timeout), daemon=True, name="pyccl start")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _watch(done: threading.Event, timeout: float) -> None:
    limit = max(timeout, LEAST)
    end = time.monotonic() + limit
    why = ""
    while not why:
        ended = roll_call().ended()
        if ended:
            why = f"{named(ended)} ended before MPI had started on all ranks"
        elif time.monotonic() > end:
            why = f"MPI has not started within {limit:g} s: not all ranks have come"
        if done.wait(0 if why else PAUSE):
            return
    with suppress(Exception):
        sys.stdout.flush()
    os.write(2, f"pyccl: {why}; rank {launched_rank()} gives up\n".encode())
    os._exit(1)
