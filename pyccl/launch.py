"""python -m pyccl.launch: runs a rank as a child of a small supervisor, so that the others can outlive it.

MPI's launchers end a whole job when one of its processes is killed. This one they do not see killed: the supervisor is
the process that they have started; it stays while other ranks of its host run, and tells on stderr what became of its
own.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pyccl.launcher import launched_rank
from pyccl.roll_call import LOST, ancestors, children

__all__ = ["main"]

USAGE = """\
usage: python -m pyccl.launch script.py [argument...]
       python -m pyccl.launch -m module [argument...]
       python -m pyccl.launch -c code [argument...]

Runs a rank such that the others can outlive it. Everything is handed to Python; SIGTERM, SIGINT, SIGHUP, SIGQUIT and
SIGUSR2 are handed on. What became of a rank that did not end with 0 is told on stderr.

Exit status: that of the program. A rank that was killed by signal N counts as 0 if another rank of its host was running
and ended by itself later (that one's status tells how well), else as 128 + N.

examples:
  mpirun -disable-auto-cleanup -n 4 python -m pyccl.launch train.py --epochs 3     # MPICH
  mpirun --with-ft ulfm -n 4 python -m pyccl.launch train.py --epochs 3            # Open MPI"""

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR2)
_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_SURVIVE = "-disable-auto-cleanup"
_HYDRAS = ("mpirun", "mpiexec", "mpiexec.hydra")
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_PAUSE = 0.05  # seconds between two looks at the other ranks


class _Signals:
    """Hands signals on to the child, and remembers the last one that asks for the end."""

    def __init__(self) -> None:
        self.child = 0
        self.end: int | None = None
        self.reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer)
        for number in _FORWARDED:
            signal.signal(number, self._forward)
        if signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL:
            # MPICH tells of a death by this signal, which would kill; the rank inherits this until it wants it
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    def _forward(self, number: int, frame: object) -> None:
        if number in _ENDS:
            self.end = number
        if self.child and not (number == signal.SIGINT and _in_foreground()):
            os.kill(self.child, number)
            if number in _ENDS:
                os.kill(self.child, signal.SIGCONT)  # one that is stopped would never hear of it


def _in_foreground() -> bool:
    """Return whether a terminal's Ctrl-C reaches the child anyway."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _start(command: list[str], environ: Mapping[str, str]) -> int:
    """Run `command` in a child, with all descriptors (the launcher's among them); it dies with this process."""
    libc = ctypes.CDLL(None)
    me = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == me:
            os.execve(command[0], command, environ)
    finally:
        os._exit(127)


def _wait(child: int, signals: _Signals) -> int:
    """Return the exit code, or minus the signal, of the child."""
    handle = os.pidfd_open(child)
    while not select.select([handle, signals.reader], [], [])[0].count(handle):
        os.read(signals.reader, 64)
    os.close(handle)
    _, status = os.waitpid(child, 0)
    signals.child = 0
    return os.waitstatus_to_exitcode(status)


def _outlived(signals: _Signals) -> bool:
    """Wait for the other ranks of this host; return whether one that was running has ended by itself."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, LOST.encode(), 0, 0, 0)
    ran: set[int] = set()
    while True:
        others = children(os.getppid())
        running = {pid for pid, name in others.items() if name != LOST and pid != os.getpid()}
        ran |= running
        if not running or signals.end is not None:
            return bool(ran - set(others))
        time.sleep(_PAUSE)


def _name(environ: Mapping[str, str]) -> str:
    rank = launched_rank(environ)
    return f"process {os.getpid()}" if rank is None else f"rank {rank}"


def _hint(environ: Mapping[str, str], proc: Path = Path("/proc")) -> str:
    """Return which flag of mpirun lets the others go on, if it lacks that; "" also where its flags cannot be seen."""
    if "OMPI_COMM_WORLD_RANK" in environ:
        return "" if environ.get("OMPI_MCA_mpi_ft_enable", "0") not in ("0", "false") else "--with-ft ulfm"
    if "PMI_RANK" not in environ:
        return ""
    for pid in ancestors(os.getpid(), proc):
        words = (proc / str(pid) / "cmdline").read_text(errors="replace").split("\0")
        if Path(words[0]).name in _HYDRAS:
            return "" if {_SURVIVE, f"-{_SURVIVE}"} & set(words) else _SURVIVE
    return ""


def _tell_hint() -> None:
    flag = _hint(os.environ)
    if flag and LOST not in children(os.getppid()).values():  # once on each host
        _tell(f"mpirun may end all ranks now, or with the next one that ends; mpirun {flag} lets the others go on")


def _tell(text: str) -> None:
    os.write(2, f"pyccl.launch: {text}\n".encode())  # at once: the ranks share the stream


def main(arguments: Sequence[str] | None = None, flags: Sequence[str] = ()) -> int:
    """Run Python on `arguments`, with `flags` of its own before them; return the exit status for the launcher."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(USAGE, file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    who, begun = _name(os.environ), time.monotonic()
    under_launcher = who.startswith("rank")
    signals = _Signals()
    # mpi4py's own end of MPI would wait for the dead; pyccl ends MPI where all live
    environ = {**os.environ, "MPI4PY_RC_FINALIZE": "0", "PYCCL_LAUNCHED": "1"}
    signals.child = _start([sys.executable, *flags, *words], environ)
    code = _wait(signals.child, signals)
    after = f"after {time.monotonic() - begun:.1f} s"
    if code >= 0:
        if code:
            _tell(f"{who}: exit code {code} {after}")
        return code
    number = -code
    _tell(f"{who}: killed by {signal.Signals(number).name} {after}")
    asked = signals.end is not None
    if under_launcher and not asked:
        _tell_hint()
    if "OMPI_COMM_WORLD_RANK" in os.environ:  # its MPI learns of deaths by this process's own
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    return 0 if under_launcher and not asked and _outlived(signals) else 128 + number


if __name__ == "__main__":
    sys.exit(main(flags=sys.orig_argv[1 : sys.orig_argv.index("-m")]))
