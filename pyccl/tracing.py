"""Writes what a communicator did to a file, for `python -m pyccl.trace`.

A file is JSON lines: a header, and an object per operation with the fields of `pyccl.flight.FlightRecord`. Each writing
replaces all of it, so that it is whole whenever the process ends. `pyccl.trace.format` reads it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path
from types import FrameType

from pyccl import _core
from pyccl.errors import ConfigError
from pyccl.flight import records

__all__ = ["CAPACITY", "FORMAT", "VERSION", "TraceFile", "tell_on_signal"]

FORMAT, VERSION = "pyccl-trace", 1
CAPACITY = 1 << 16  # operations; 64 bytes each
_SHOWN = 32  # operations of a communicator without a trace, at a signal


class TraceFile:
    """The file of one communicator on one rank.

    Parameters
    ----------
    folder : Path
        Made, for its owner alone, if it does not exist.
    core : Communicator of the core
        Held weakly: it holds those who write.
    identity : str
        The same on every rank of the communicator, and of no other communicator.
    rank, size : int

    Raises
    ------
    ConfigError
        If the file cannot be made; a folder that is a symbolic link is refused.
    """

    def __init__(self, folder: Path, core: _core.Communicator, identity: str, rank: int, size: int) -> None:
        self._core = weakref.ref(core)
        self._identity, self._rank, self._size = identity, rank, size
        self._busy = threading.Lock()
        self._pid = os.getpid()  # a child of fork must not write in its parent's file
        self.path = folder / f"rank{rank:05d}-{identity}-{os.getpid()}.jsonl"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                self._fd = os.open(self.path.name, flags, 0o600, dir_fd=inside)
            finally:
                os.close(inside)
        except OSError as error:
            raise ConfigError(f"PYCCL_TRACE={folder}: no trace can be written there: {error}") from error
        self.write("start")

    def write(self, reason: str) -> None:
        """Replace the file by what the communicator has done so far; nothing if it is being written."""
        core = self._core()
        if core is None or os.getpid() != self._pid or not self._busy.acquire(blocking=reason == "close"):
            return
        try:
            rows = [dataclasses.asdict(record) for record in records(core.flight())]
            lines = [self._header(reason, core.flight_written() - len(rows)), *rows]
            data = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode()
            done = 0
            while done < len(data):
                done += os.pwrite(self._fd, data[done:], done)
            os.ftruncate(self._fd, len(data))
        finally:
            self._busy.release()

    def _header(self, reason: str, lost: int) -> dict[str, object]:
        now = time.monotonic()
        return {
            "format": FORMAT,
            "version": VERSION,
            "communicator": self._identity,
            "rank": self._rank,
            "size": self._size,
            "host": os.uname().nodename,
            "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            "pid": os.getpid(),
            "written": now,
            "wall": time.time() - now,
            "lost": lost,
            "reason": reason[:400],
        }

    def close(self) -> None:
        """Write for the last time."""
        self.write("close")
        os.close(self._fd)


class _TellOnSignal:
    """A signal handler. Long waits look at signals, so that it runs in a rank that hangs in pyccl, too."""

    def __init__(self) -> None:
        self.cores: weakref.WeakKeyDictionary[_core.Communicator, tuple[int, TraceFile | None]] = (
            weakref.WeakKeyDictionary()
        )

    def __call__(self, number: int, frame: FrameType | None) -> None:
        for core, (rank, trace) in list(self.cores.items()):
            if trace is not None:
                trace.write("signal")
                continue
            last = records(core.flight()[-_SHOWN:])
            lines = [f"pyccl: rank {rank}: the last {len(last)} operations, oldest first", *map(str, last)]
            with suppress(OSError):  # nobody reads stderr any more
                os.write(2, "".join(f"{line}\n" for line in lines).encode())


def tell_on_signal(core: _core.Communicator, rank: int, trace: TraceFile | None) -> None:
    """At SIGUSR2 write `trace`, or the last operations to stderr, unless the program uses that signal itself."""
    handler = signal.getsignal(signal.SIGUSR2)
    if handler is signal.SIG_DFL and threading.current_thread() is threading.main_thread():
        handler = _TellOnSignal()
        signal.signal(signal.SIGUSR2, handler)
    if isinstance(handler, _TellOnSignal):
        handler.cores[core] = rank, trace
