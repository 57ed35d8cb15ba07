"""Runs ranks as processes of this node that may die: without MPI, whose launcher would end the survivors, too."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mpi import ROOT

DEADLINE = 60.0  # seconds

_START = """
import os, signal, sys, threading, time, warnings
import numpy as np
import pyccl
from tests.processes import FileBootstrap, KILLED, outcome
rank, size = int(sys.argv[2]), int(sys.argv[3])
def start(timeout=30.0, name="world"):
    return pyccl.Communicator.from_bootstrap(FileBootstrap(sys.argv[1] + "/" + name, rank, size), timeout=timeout)
def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""
KILLED = -9


class FileBootstrap:
    """Ranks that tell each other things through files of one folder."""

    def __init__(self, folder: str, rank: int, size: int, timeout: float = 30.0) -> None:
        self.rank, self.size = rank, size
        self._folder, self._timeout, self._turn = Path(folder), timeout, 0
        self._folder.mkdir(exist_ok=True)

    def allgather(self, data: bytes) -> list[bytes]:
        self._turn += 1
        new = self._folder / f"{self._turn}.{self.rank}.new"
        new.write_bytes(data)
        new.rename(self._folder / f"{self._turn}.{self.rank}")
        paths = [self._folder / f"{self._turn}.{rank}" for rank in range(self.size)]
        end = time.monotonic() + self._timeout
        while not all(path.exists() for path in paths):
            if time.monotonic() > end:
                raise TimeoutError("not all ranks came")
            time.sleep(1e-3)
        return [path.read_bytes() for path in paths]

    def barrier(self) -> None:
        self.allgather(b"")

    def split(self, color: int | None, key: int) -> None:
        raise NotImplementedError

    def remote(self) -> None:
        return None

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Ended:
    """What became of one rank."""

    returncode: int
    stdout: str
    stderr: str


def outcome(function: object) -> str:
    """Call it; return the error's type, its text, and the seconds that it took to raise, as one line."""
    start = time.monotonic()
    try:
        function()  # type: ignore[operator]
    except BaseException as error:
        return f"{type(error).__name__}|{error}|{time.monotonic() - start:.3f}"
    return f"none||{time.monotonic() - start:.3f}"


def run(code: str, size: int, *, deadline: float = DEADLINE, arguments: Sequence[str] = ()) -> list[Ended]:
    """Run Python code on `size` processes; it finds `rank`, `size`, `start()`, `die()` and `outcome()`."""
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    program = _START + textwrap.dedent(code)
    with tempfile.TemporaryDirectory() as folder:
        outputs = [
            tuple(Path(folder, f"{name}{r}").open("w+") for name in ("out", "err"))  # noqa: SIM115
            for r in range(size)
        ]
        ranks = [
            subprocess.Popen(
                [sys.executable, "-c", program, folder, str(r), str(size), *arguments], cwd=ROOT, env=environ,
                stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            )
            for r, (out, err) in enumerate(outputs)
        ]  # fmt: skip
        end, late = time.monotonic() + deadline, []
        try:
            for r, process in enumerate(ranks):
                try:
                    process.wait(max(0.1, end - time.monotonic()))
                except subprocess.TimeoutExpired:
                    late.append(r)
        finally:
            for process in ranks:
                process.kill()
                process.wait()
        ended = []
        for process, (out, err) in zip(ranks, outputs, strict=True):
            texts = []
            for stream in (out, err):
                stream.seek(0)
                texts.append(stream.read())
                stream.close()
            ended.append(Ended(process.returncode, *texts))
    if late:
        pytest.fail(f"ranks {late} of {size} still ran after {deadline:g} s: {ended}", pytrace=False)
    return ended
