"""All_reduces while a cable is pulled: `cable.py FOLDER SECONDS TIMEOUT`, every rank of several hosts.

Rank 0 writes FOLDER/started after the first results; rank r writes FOLDER/r: "ok" when SECONDS have passed with right
results only, else the error, how long its call took, and how long the next one took to fail.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

import pyccl


def work(comm: pyccl.Communicator, folder: Path, seconds: float) -> None:
    small, large = np.full(16, comm.rank + 1.0), np.arange(100_000) * (comm.rank + 1)
    total, until = comm.size * (comm.size + 1) // 2, None
    going = np.ones(1, np.int32)
    while going[0]:  # rank 0 decides, so that all stop at one operation
        assert (comm.all_reduce(small) == total).all()
        assert np.array_equal(comm.all_reduce(large), np.arange(100_000) * total)
        if until is None:
            until = time.monotonic() + seconds
            if comm.rank == 0:
                (folder / "started").touch()
        going[0] = time.monotonic() < until
        comm.broadcast(going, root=0)


def main(folder: Path, seconds: float, timeout: float) -> None:
    comm = pyccl.init(timeout=timeout)
    try:
        work(comm, folder, seconds)
    except pyccl.CommError as error:
        first, began = error, time.monotonic()
        try:
            comm.barrier()
        except pyccl.CommError:
            again = time.monotonic() - began
        (folder / f"{comm.rank}").write_text(f"{type(first).__name__} {time.time()} {again}")
        time.sleep(60)  # a rank that leaves would have the launcher end the others
    (folder / f"{comm.rank}").write_text("ok")
    comm.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
