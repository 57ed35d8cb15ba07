"""How a fault comes about, in the rank that it befalls."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyccl
from tests.nemesis.script import Fault

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "interrupt": signal.SIGINT}
TEXT = "the nemesis has struck"
_CHILD_LIMIT = 20  # seconds that the child of a fork may live


class _Event(ctypes.Structure):
    _fields_ = (
        ("value", ctypes.c_void_p), ("signo", ctypes.c_int), ("notify", ctypes.c_int), ("pad", ctypes.c_char * 48),
    )  # fmt: skip


def send_later(number: signal.Signals, seconds: float) -> None:
    """Let the kernel send this process a signal: on time, whoever holds the GIL."""
    libc = ctypes.CDLL(None, use_errno=True)
    timer, event = ctypes.c_void_p(), _Event(signo=number)
    if libc.timer_create(time.CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)) != 0:
        raise OSError(ctypes.get_errno(), "timer_create")
    nanoseconds = max(1, int(seconds * 1e9))
    setting = (ctypes.c_long * 4)(0, 0, nanoseconds // 10**9, nanoseconds % 10**9)
    if libc.timer_settime(timer, 0, setting, None) != 0:
        raise OSError(ctypes.get_errno(), "timer_settime")


class Strike:
    """A fault at work in this process; in ranks that it does not befall it does nothing."""

    def __init__(self, fault: Fault, rank: int, comm: pyccl.Communicator, log: Callable[..., None]) -> None:
        self.fault, self.mine, self.comm, self.log = fault, fault.victim == rank, comm, log
        self._threads: list[threading.Thread] = []

    @contextlib.contextmanager
    def around(self, step: int) -> Iterator[None]:
        """Enclose the calls of a step."""
        if not self.mine or step != self.fault.step:
            yield
            return
        if self.fault.limit:
            with self._limited():
                yield
            return
        if self.fault.when == "before":
            self._now()
        elif self.fault.when == "during":
            self._soon()
        yield
        if self.fault.when == "after":
            self._now()

    def settle(self) -> None:
        """Wait for a fault that struck late, before the last meeting of all."""
        for thread in self._threads:
            thread.join()
        if self.mine and self.fault.when == "during" and self.fault.kind in SIGNALS:
            time.sleep(self.fault.delay * 1e-6 + 0.1)

    def _now(self) -> None:
        if self.fault.kind in SIGNALS:
            os.kill(os.getpid(), SIGNALS[self.fault.kind])
        elif self.fault.kind == "exception":
            raise RuntimeError(TEXT)
        elif self.fault.kind == "fork":
            self._fork()

    def _soon(self) -> None:
        seconds = self.fault.delay * 1e-6
        if self.fault.kind in SIGNALS:
            send_later(SIGNALS[self.fault.kind], seconds)
            return
        what, words = (self._fork, ()) if self.fault.kind == "fork" else (self.comm.abort, (TEXT,))
        timer = threading.Timer(seconds, what, words)
        timer.start()
        self._threads.append(timer)

    def _fork(self) -> None:
        child = os.fork()
        if child == 0:
            signal.alarm(_CHILD_LIMIT)
            try:
                self.comm.barrier()
                code = 2
            except pyccl.CommError as error:
                code = 0 if "used after fork" in str(error) else 3
            except BaseException:
                code = 4
            if self.fault.victim % 2:
                atexit._run_exitfuncs()
            os._exit(code)
        self.log("child", code=os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    @contextlib.contextmanager
    def _limited(self) -> Iterator[None]:
        fault = self.fault
        which = getattr(resource, f"RLIMIT_{fault.limit}")
        now = {"FSIZE": 0, "NOFILE": len(os.listdir("/proc/self/fd")), "AS": _mapped()}[fault.limit]  # noqa: PTH208
        before = resource.getrlimit(which)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(which, (now + fault.amount, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(which, before)


def _mapped() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
