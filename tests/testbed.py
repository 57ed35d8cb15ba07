"""Several hosts on one machine: network namespaces on a switch, each with a network interface of finite rate.

A thin cover of `tests/netns.sh`, which says what is real about them. Needs root and iproute2.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tests import mpi

SCRIPT = Path(__file__).with_name("netns.sh")


def missing() -> str:
    """Return why there can be no testbed here; nothing if there can."""
    if os.geteuid() != 0:
        return "several hosts need root, to make network namespaces"
    for program in ("ip", "tc", "unshare", "bash"):
        if shutil.which(program) is None:
            return f"several hosts need {program} (iproute2, util-linux)"
    name = f"pccl{uuid.uuid4().hex[:8]}try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, timeout=20, check=False)
    if made.returncode != 0:
        return f"several hosts need network namespaces: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], timeout=20, check=False)
    return ""


class Testbed:
    """`hosts` hosts, all links of `rate` (as `tc` writes it: "200mbit"); removed when the block ends."""

    __test__ = False  # not a class of tests

    def __init__(self, hosts: int, rate: str = "1gbit") -> None:
        self.hosts = hosts
        self._rate = rate
        self._env = {**os.environ, "TB_PREFIX": f"pccl{uuid.uuid4().hex[:8]}h"}

    def __enter__(self) -> Testbed:
        try:
            self._script("up", str(self.hosts), self._rate)
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def down(self) -> None:
        """Remove the hosts and end what runs on them; may be repeated."""
        self._script("down")

    def rate(self, host: int, rate: str) -> None:
        self._script("rate", str(host), rate)

    def cut(self, host: int) -> None:
        """Pull the cable of a host."""
        self._script("cut", str(host))

    def mend(self, host: int) -> None:
        self._script("mend", str(host))

    def run(
        self,
        program: str | Path | Sequence[str],
        ranks_per_host: int,
        *,
        timeout: float,
        env: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> mpi.Run:
        """Run a program on all hosts, as `mpi.mpirun` does on one."""
        launcher = mpi.launcher()
        home = str(Path(launcher.path).parents[1])
        names = {**self._env, "MPICH_VENV": home, "OMPI_VENV": home, **(env or {})}
        command = ["bash", str(SCRIPT), launcher.mpi, str(ranks_per_host), *forwarded(names, launcher.mpi)]
        n = self.hosts * ranks_per_host
        return mpi.mpirun(program, n, timeout=timeout, env=names, check=check, command=command)

    def _script(self, *arguments: str) -> None:
        subprocess.run(
            ["bash", str(SCRIPT), *arguments], env=self._env, stdin=subprocess.DEVNULL, timeout=60, check=True
        )


def forwarded(env: Mapping[str, str], kind: str) -> list[str]:
    """Return what gives the ranks PYTHONPATH and our own variables: Open MPI's launcher leaves them at home."""
    kept = {name: value for name, value in env.items() if name.startswith("PYCCL_")}
    return ["env", f"PYTHONPATH={mpi.ROOT}", *(f"{k}={v}" for k, v in kept.items())]
