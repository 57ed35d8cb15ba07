"""Which services of the kernel pyccl and the MPI libraries may use here: containers forbid some."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Kernel", "probe_kernel"]


@dataclass(frozen=True)
class Kernel:
    """`release`, and for each service "" where it works, else why not.

    Attributes
    ----------
    memfd : str
        Memory without a name, in which the segment of a node lies.
    peer_memory : str
        Opening ``/proc/PID/fd`` of another process of the same user, by which ranks find each other's memory.
    pidfd : str
        Noticing the death of a peer.
    futex : str
        Sleeping until a peer comes.
    process_vm_readv : str
        Copying from a peer's memory: MPI libraries do, pyccl does not.
    """

    release: str
    memfd: str
    peer_memory: str
    pidfd: str
    futex: str
    process_vm_readv: str


def probe_kernel() -> Kernel:
    """Try each once."""
    return Kernel(
        release=os.uname().release,
        memfd=_attempt(_memfd),
        peer_memory=_attempt(_peer_memory),
        pidfd=_attempt(lambda: os.close(os.pidfd_open(os.getpid()))),
        futex=_attempt(_futex),
        process_vm_readv=_attempt(_process_vm_readv),
    )


def _attempt(probe: Callable[[], None]) -> str:
    try:
        probe()
    except (OSError, AttributeError) as error:
        return str(error) or type(error).__name__
    return ""


def _memfd() -> None:
    fd = os.memfd_create("pyccl-doctor")
    try:
        os.ftruncate(fd, 1 << 16)
    finally:
        os.close(fd)


def _peer_memory() -> None:
    with subprocess.Popen(["sleep", "10"], stdin=subprocess.DEVNULL) as peer:
        try:
            os.close(os.open(f"/proc/{peer.pid}/fd/0", os.O_RDONLY))
        finally:
            peer.kill()


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _futex() -> None:
    numbers = {"x86_64": 202, "aarch64": 98}
    number = numbers.get(os.uname().machine)
    if number is not None:
        word = ctypes.c_uint32(0)
        wake = 1
        _check(_libc().syscall(ctypes.c_long(number), ctypes.byref(word), wake, 1, None, None, 0))


class _Range(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def _process_vm_readv() -> None:
    source, target = ctypes.c_uint64(7), ctypes.c_uint64(0)
    local = _Range(ctypes.addressof(target), 8)
    remote = _Range(ctypes.addressof(source), 8)
    one, flags = ctypes.c_ulong(1), ctypes.c_ulong(0)
    _check(_libc().process_vm_readv(os.getpid(), ctypes.byref(local), one, ctypes.byref(remote), one, flags))
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    if os.getuid() != 0 and scope.is_file() and scope.read_text().strip() in ("2", "3"):
        raise PermissionError("kernel.yama.ptrace_scope forbids it between ranks")
