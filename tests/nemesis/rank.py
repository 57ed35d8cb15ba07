"""One rank of a round, and the process that watches over it.

MPICH's proxy ends the ranks of a host when one of them ends by a signal, in spite of -disable-auto-cleanup, and sends
the others SIGUSR1. A watcher that ignores that signal and always ends well keeps the survivors alive. It also
continues a rank that is stopped, and notes when its rank has ended.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LATER = 10  # calls on a communicator that is broken
GONE = 15.0  # seconds that a rank of MPI waits for the others before it ends without MPI's own end


class Log:
    """Events of one rank, one line of JSON each, on disk at once."""

    def __init__(self, folder: str, rank: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(f"{folder}/{rank}.jsonl", flags, 0o600)

    def __call__(self, event: str, **more: Any) -> None:
        os.write(self._fd, (json.dumps({"event": event, "at": time.monotonic(), **more}) + "\n").encode())


def watch(folder: str, rank: int, pause: float, body: Callable[[Log], None]) -> None:
    """Run `body` in a child; continue it `pause` seconds after it stops; return once it has ended."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    log = Log(folder, rank)
    child = os.fork()
    if child == 0:
        code = 70
        try:
            errors = os.open(f"{folder}/{rank}.err", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(errors, 2)
            faulthandler.enable()
            faulthandler.register(signal.SIGUSR1, all_threads=True)
            body(log)
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(BaseException):
                sys.stderr.flush()
            os._exit(code)
    log("started", pid=child)
    while True:
        _, status = os.waitpid(child, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            break
        log("stopped")
        time.sleep(pause)
        os.kill(child, signal.SIGCONT)
        log("continued")
    log("ended", code=os.waitstatus_to_exitcode(status))


def described(error: BaseException) -> dict[str, Any]:
    return {
        "kind": type(error).__name__, "text": str(error)[:500], "rank": getattr(error, "rank", None),
        "missing": list(getattr(error, "missing", ())), "broken": getattr(error, "broken", None),
        "own": isinstance(error, _documented()),
    }  # fmt: skip


def _documented() -> tuple[type[BaseException], ...]:
    import pyccl

    return pyccl.Error, OSError, MemoryError, KeyboardInterrupt


def perform(text: str, comm: Any, log: Log) -> None:
    """Do a round's steps; an error that breaks the communicator ends them."""
    from tests.nemesis.script import Round
    from tests.nemesis.strike import Strike
    from tests.nemesis.work import Operation

    script = Round.load(text)
    strike = Strike(script.fault, comm.rank, comm, log)
    try:
        with comm:
            for i, step in enumerate(script.steps):
                operation = Operation(step, i, comm.rank, comm.size)
                try:
                    with strike.around(i):
                        got = operation.run(comm)
                except Exception as error:
                    log("error", step=i, changed=operation.input_changed(), **described(error))
                    if not script.fault.limit:
                        _again(comm, log, error)
                        raise
                else:
                    log("ok", step=i, wrong=operation.wrong(got), changed=operation.input_changed())
                    operation.close()
            strike.settle()
            _last_meeting(comm, log)
    except BaseException as error:
        log("left", **described(error))
    log("closed")


def _last_meeting(comm: Any, log: Log) -> None:
    try:
        comm.barrier()
        log("whole")
    except Exception as error:
        log("error", step=-1, changed=False, **described(error))
        _again(comm, log, error)
        raise


def _again(comm: Any, log: Log, first: BaseException) -> None:
    """Note what a broken communicator says to later calls."""
    from pyccl import CommError

    if not isinstance(first, CommError):
        return
    kinds, times = set(), []
    for _ in range(LATER):
        start = time.monotonic()
        try:
            comm.barrier()
            kinds.add("none")
        except Exception as error:
            kinds.add(type(error).__name__)
        times.append(time.monotonic() - start)
    log("later", kinds=sorted(kinds), seconds=sorted(times)[LATER // 2])


def main() -> None:
    """Be a rank that mpirun has started: `python -m tests.nemesis.rank FOLDER PAUSE`."""
    folder, pause = sys.argv[1], float(sys.argv[2])
    text = Path(folder, "script.json").read_text()
    rank = int(os.environ.get("PMI_RANK") or os.environ["OMPI_COMM_WORLD_RANK"])

    def body(log: Log) -> None:
        import pyccl

        comm = pyccl.init(timeout=json.loads(text)["timeout"])
        log("begun")
        perform(text, comm, log)
        _leave_together(folder, comm.size)

    watch(folder, rank, pause, body)
    os._exit(0)


def _leave_together(folder: str, size: int) -> None:
    """Wait until every rank has closed or ended: MPI's own end would wait for the dead, launchers end the late."""
    end = time.monotonic() + GONE
    paths = [Path(folder, f"{rank}.jsonl") for rank in range(size)]
    while time.monotonic() < end:
        texts = [path.read_text() if path.exists() else "" for path in paths]
        if all('"closed"' in text or '"ended"' in text for text in texts):
            return
        time.sleep(0.02)


if __name__ == "__main__":
    main()
