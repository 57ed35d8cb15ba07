"""What comm.register leaves behind, and what free, fork and a full table of mappings make of it."""

from __future__ import annotations

import ctypes
import gc
import mmap
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

import pyccl
from tests import mpi, ranks
from tests.pages import PAGE, aligned, inside, moved

LIBC = ctypes.CDLL(None)


def test_memory_is_freed_and_used_again_afterwards() -> None:
    """malloc's heap, memory of a mapping of its own, pages that nobody has touched, and a resize in place."""

    def body(comm: pyccl.Communicator) -> None:
        for count in (700, 3000, 12_000, 100_000, 1_200_000):
            for make in (np.zeros, np.ones):
                arrays = [make(count) for _ in range(4)]
                for i, x in enumerate(arrays):
                    with comm.register(x):
                        x[-1] = i
                        comm.all_reduce(x, out=x)
                    assert x[-1] == i * comm.size
                    assert (x[:-1] == (0 if make is np.zeros else comm.size)).all()
                    assert moved(x) == 0
                first = arrays.pop(0)
                first.resize(3 * count, refcheck=False)
                assert (first[count:] == 0).all()
                del arrays[1], first
                filled = [np.full(count, 7.5) for _ in range(8)]
                assert all((x == 7.5).all() for x in filled)
                assert all(x[-1] in (comm.size, 3 * comm.size) for x in arrays)

    ranks.run(2, body)


def test_two_hundred_times_leave_memory_as_it_was() -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    def mappings() -> int:
        return Path("/proc/self/maps").read_text().count("\n")

    def body(comm: pyccl.Communicator) -> None:
        x, small = np.ones(300_000), np.ones(40)

        def cycle() -> None:
            with comm.register(x), comm.register(small):
                comm.all_reduce(x, "max", out=x)
                comm.all_reduce(small, "max", out=small)

        for _ in range(5):
            cycle()
        gc.collect()
        comm.barrier()
        before = (descriptors(), mappings(), resident()) if comm.rank == 0 else (0, 0, 0)
        comm.barrier()
        for _ in range(200):
            cycle()
        gc.collect()
        comm.barrier()
        if comm.rank == 0:
            assert descriptors() == before[0]
            assert mappings() <= before[1] + 4  # the heap's own
            assert resident() - before[2] < 4 << 20
        comm.barrier()
        assert (x == 1).all()

    ranks.run(2, body)


FORK = """
import os, threading
import numpy as np
import pyccl
from tests import ranks
from tests.pages import moved

def body(comm):
    x = np.full(300_000, comm.rank + 1.0)
    handle = comm.register(x)
    comm.barrier()
    if comm.rank == 0:
        child = os.fork()
        if child == 0:
            good = (x == 1).all() and moved(x) == 0
            x[:] = 99
            os._exit(0 if good else 1)
        assert os.waitpid(child, 0)[1] == 0
    assert (x == comm.rank + 1).all(), x
    comm.all_reduce(x, out=x)
    assert (x == 3).all()
    assert comm._core.direct_runs == 1
    handle.close()
    assert (x == 3).all()

ranks.run(2, body)
"""


def python(*arguments: str) -> None:
    command = [sys.executable, "-W", "ignore", *arguments]
    done = subprocess.run(command, cwd=mpi.ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_child_of_fork_has_a_copy_of_its_own() -> None:
    python("-c", FORK)


def test_a_killed_peer_leaves_valid_memory() -> None:
    python("-m", "tests.workers.register_lost")


@mpi.check(sizes=(2,))
def full_table_of_mappings(comm: pyccl.Communicator) -> None:
    """One rank may have no mapping left at any step: then nothing changes on either, or all does."""
    size = int(Path("/proc/sys/vm/max_map_count").read_text()) * PAGE * 2
    arena = aligned(20 * PAGE)
    x = inside(arena, 24, 9 * PAGE // 8)
    seen = set()
    for free in range(16):
        x[:] = comm.rank + 1
        filler = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)  # MAP_NORESERVE
        if comm.rank == 1:
            fill(filler, free)
        made: list[pyccl.Registration] = []
        error = ranks.outcome(lambda made=made: made.append(comm.register(x)))
        short = [ranks.outcome(handle.close) for handle in made]
        filler.close()
        for handle, late in zip(made, short, strict=True):
            assert handle.closed == (late is None)
            assert (x == comm.rank + 1).all()
            handle.close()
        outcomes = comm.all_gather(np.array([error is None]))
        seen.add(bool(outcomes[0]))
        assert outcomes[0] == outcomes[1], (free, error)
        assert error is None or isinstance(error, pyccl.Error), repr(error)
        assert (x == comm.rank + 1).all()
        assert moved(x) == 0
        ranks.usable(comm)
    assert seen == {True, False}


def fill(filler: mmap.mmap, free: int) -> None:
    """Cut `filler` into pieces until no mapping more is possible, then give `free` of them back."""
    start = ctypes.addressof(ctypes.c_char.from_buffer(filler))
    done = []
    for page in range(len(filler) // PAGE):
        if page % 2:
            if LIBC.mprotect(ctypes.c_void_p(start + page * PAGE), ctypes.c_size_t(PAGE), mmap.PROT_READ) != 0:
                break
            done.append(page)
    for page in done[: free // 2]:  # a piece in the middle of another makes two
        LIBC.mprotect(ctypes.c_void_p(start + page * PAGE), ctypes.c_size_t(PAGE), mmap.PROT_READ | mmap.PROT_WRITE)
    gc.collect()


test_mpi = mpi.checks(globals())
