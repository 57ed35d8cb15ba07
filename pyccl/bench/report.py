"""The measured rows, the environment they were measured in, and the JSON file that holds both."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .baseline import library

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .cases import Case
    from .interface import World
    from .runner import Result


@dataclass(frozen=True)
class Row:
    """One line of the table, in seconds, bytes and bytes/s; `bytes` is the large side."""

    collective: str
    algorithm: str
    dtype: str
    op: str
    bytes: int
    count: int
    root: int
    ranks: int
    nodes: int
    registered: bool
    in_place: bool
    time_s: float
    p99_s: float
    iterations: int
    algbw: float
    busbw: float
    wrong: int
    baseline_s: float | None = None
    baseline_p99_s: float | None = None
    baseline_wrong: int = 0
    model: str | None = None
    bucket_bytes: int | None = None
    calls: int = 1

    @property
    def speedup(self) -> float | None:
        """How many times faster than the launcher's MPI; None where it has no equivalent."""
        return None if self.baseline_s is None else self.baseline_s / self.time_s

    @property
    def baseline_busbw(self) -> float | None:
        """Bus bandwidth of the launcher's MPI in bytes/s."""
        return None if self.speedup is None else self.busbw / self.speedup


def make_row(
    world: World, case: Case, ours: Result, baseline: Result | None, *, nbytes: int | None = None, **extra: Any
) -> Row:
    """Combine a case with what was measured; `nbytes` replaces the case's own where one row sums several calls."""
    total = case.nbytes if nbytes is None else nbytes
    algbw = total / ours.sample.median
    return Row(
        collective=case.collective,
        algorithm=case.algorithm,
        dtype=case.dtype,
        op=case.op,
        bytes=total,
        count=total * case.count // case.nbytes if case.nbytes else 0,
        root=case.root,
        ranks=world.size,
        nodes=world.nodes,
        registered=case.registered,
        in_place=case.shares_buffer,
        time_s=ours.sample.median,
        p99_s=ours.sample.p99,
        iterations=ours.sample.iterations,
        algbw=algbw,
        busbw=algbw * case.bus_factor,
        wrong=ours.wrong,
        baseline_s=baseline.sample.median if baseline else None,
        baseline_p99_s=baseline.sample.p99 if baseline else None,
        baseline_wrong=baseline.wrong if baseline else 0,
        **extra,
    )


def write_json(path: Path, environment: dict[str, Any], rows: Sequence[Row]) -> None:
    """Write `{"environment": ..., "rows": [...]}`."""
    text = json.dumps({"environment": environment, "rows": [asdict(row) for row in rows]}, indent=1)
    path.write_text(text + "\n")


def describe(world: World) -> dict[str, Any]:
    """Return what a reader needs to judge the numbers. Collective: every rank tells where it may run."""
    affinity = world.mpi.gather(sorted(os.sched_getaffinity(0)), root=0)
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": " ".join(["python -m pyccl.bench", *sys.argv[1:]]),
        "machine": platform.machine(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "huge_pages": _first_line("/sys/kernel/mm/transparent_hugepage/enabled"),
        "autogroup": _first_line("/proc/sys/kernel/sched_autogroup_enabled"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "mpi_library": library(),
        "launcher": launcher(os.environ),
        "pyccl": world.library.version,
        "ranks": world.size,
        "nodes": world.nodes,
        "affinity": affinity or [],
    }


def cpu_model(path: Path = Path("/proc/cpuinfo")) -> str:
    """Return the CPU's name, or the architecture where /proc/cpuinfo gives none (AArch64)."""
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def launcher(environ: os._Environ[str] | dict[str, str]) -> str:
    """Return who started the ranks, judged by the variables that launchers leave behind."""
    signs = {
        "Open MPI mpirun": "OMPI_COMM_WORLD_SIZE",
        "Intel MPI mpiexec": "I_MPI_MPIRUN",
        "MPICH mpiexec (Hydra)": "HYDI_CONTROL_FD",
        "Slurm srun": "SLURM_STEP_ID",
        "PMI": "PMI_SIZE",
    }
    return next((name for name, sign in signs.items() if sign in environ), "none (single process)")


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().splitlines()[0]
    except (OSError, IndexError):
        return "unknown"
