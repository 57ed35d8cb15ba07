"""Memory, descriptors and threads over many operations and many communicators, of ranks that are processes."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

import pyccl
from tests.processes import FileBootstrap


def used() -> dict[str, int]:
    """Return what this process holds: bytes of memory that are its own, descriptors, threads, mappings of pyccl's."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what malloc keeps is not lost
    pages = [int(word) for word in Path("/proc/self/statm").read_text().split()]
    return {
        "bytes": (pages[1] - pages[2]) * resource.getpagesize(),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "mappings": Path("/proc/self/maps").read_text().count("memfd:pyccl"),
    }


def operations(comm: pyccl.Communicator, x: np.ndarray, big: np.ndarray, i: int) -> None:
    """One of twelve kinds."""
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    calls: list[Callable[[], object]] = [
        lambda: comm.all_reduce(x),
        lambda: comm.all_reduce(big, out=big, op="max"),
        lambda: comm.all_reduce_async(x).wait(),
        lambda: comm.all_gather(x),
        lambda: comm.reduce_scatter(x),
        lambda: comm.broadcast(x, root=i % comm.size),
        lambda: comm.all_to_all(x),
        lambda: comm.gather(x, root=i % comm.size),
        lambda: comm.barrier(),
        lambda: comm.sendrecv(x, right, np.empty_like(x), left),
        lambda: comm.plan("all_reduce", x)(),
        lambda: _refused(comm, x),
    ]
    calls[i % len(calls)]()


def _refused(comm: pyccl.Communicator, x: np.ndarray) -> None:
    """A mismatch, which leaves the communicator whole."""
    try:
        comm.all_reduce(x[: comm.rank + 1])
    except pyccl.MismatchError:
        return
    raise AssertionError("a mismatch was not noticed")


def lives(bootstrap: FileBootstrap, comm: pyccl.Communicator, i: int) -> None:
    """Make and end a communicator by its bootstrap and by split, an array of empty and a registered one."""
    with pyccl.Communicator.from_bootstrap(bootstrap) as other:
        other.all_reduce_async(np.ones(3)).wait()
    part = comm.split(comm.rank % 2, -comm.rank)
    assert part is not None
    part.barrier()
    part.close()
    comm.all_reduce(comm.empty(20_000 + i))
    mine = np.ones(20_000 + i)
    with comm.register(mine):
        comm.all_reduce(mine, out=mine)


def grown(body: Callable[[int], None], warm: int, times: int) -> dict[str, int]:
    """Return by how much `used` is more after `times` calls."""
    for i in range(warm):
        body(i)
    before = used()
    for i in range(times):
        body(warm + i)
    return {name: value - before[name] for name, value in used().items()}


def main() -> None:
    """Be a rank: `python -m tests.nemesis.soak FOLDER RANK SIZE`; prints what has grown as a line of JSON."""
    folder, rank, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    bootstrap = FileBootstrap(folder + "/world", rank, size)
    x, big = np.ones(12 * size), np.ones(100_000)
    with pyccl.Communicator.from_bootstrap(bootstrap) as comm:
        figures = {
            "operations": grown(lambda i: operations(comm, x, big, i), 600, 10_000),
            "lives": grown(lambda i: lives(bootstrap, comm, i), 20, 200),
        }
    os.write(1, (json.dumps(figures) + "\n").encode())


if __name__ == "__main__":
    main()
