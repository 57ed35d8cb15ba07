"""Pushes and pulls while a cable is pulled: `server_cable.py FOLDER SECONDS`, every rank of several hosts.

Rank 0 writes FOLDER/started after its first push; rank r writes FOLDER/r when SECONDS have passed: "ok", who lived in
the end, and whether it read all that it had pushed; else the error.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

import pyccl


def work(ps: pyccl.ParameterServer, comm: pyccl.Communicator, folder: Path, seconds: float) -> str:
    ps.table("w", init=np.zeros((comm.size, 30_000), np.float32), optimizer=pyccl.optim.SGD(1.0))
    gradient, pushed, until = np.zeros((comm.size, 30_000), np.float32), 0, time.monotonic() + seconds
    gradient[comm.rank] = -1
    while time.monotonic() < until:
        ps.push("w", gradient)
        pushed += 1
        if comm.rank == 0:
            (folder / "started").touch()
        time.sleep(0.01)
    return f"ok {ps.view().living} {(ps.pull('w')[comm.rank] == pushed).all()}"


def main(folder: Path, seconds: float) -> None:
    comm = pyccl.init(timeout=30)
    ps = pyccl.ParameterServer(comm, replicas=1)
    try:
        said = work(ps, comm, folder, seconds)
    except pyccl.Error as error:
        said = f"{type(error).__name__} {error}"
    (folder / f"{comm.rank}").write_text(said)
    time.sleep(60)  # a rank that leaves would have the launcher end the others


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
