"""What comm.register refuses, what it leaves behind, and what fork, free and full tables make of it."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyccl
from tests import mpi, ranks
from tests.test_register import PAGE, aligned, inside, moved

LIBC = ctypes.CDLL(None, use_errno=True)
COUNT = 4 * PAGE  # bytes of the arrays to be refused
DONTFORK = 10  # MADV_DONTFORK


def libc(name: str, *arguments: Any) -> None:
    if getattr(LIBC, name)(*arguments) != 0:
        pytest.skip(f"{name}: {os.strerror(ctypes.get_errno())}")


def address(x: Any) -> ctypes.c_void_p:
    return ctypes.c_void_p(x.__array_interface__["data"][0])


def read_only(comm: pyccl.Communicator, folder: Path) -> Any:
    x = aligned(COUNT)
    x.flags.writeable = False
    return x


def own_mapping(nbytes: int = COUNT, flags: int = 0) -> Any:
    """Return memory that nobody else gets when it is freed."""
    return np.frombuffer(mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | flags), np.uint8)


def protected(comm: pyccl.Communicator, folder: Path) -> Any:
    x = own_mapping()
    libc("mprotect", address(x), ctypes.c_size_t(PAGE), mmap.PROT_READ)
    return x


def of_a_file(comm: pyccl.Communicator, folder: Path) -> Any:
    return np.memmap(folder / f"{comm.rank}", np.uint8, "w+", shape=COUNT)


def copied_on_write(comm: pyccl.Communicator, folder: Path) -> Any:
    file = folder / f"{comm.rank}"
    file.write_bytes(bytes(COUNT))
    return np.memmap(file, np.uint8, "c", shape=COUNT)


def shared_with_children(comm: pyccl.Communicator, folder: Path) -> Any:
    return np.frombuffer(mmap.mmap(-1, COUNT), np.uint8)


def locked(comm: pyccl.Communicator, folder: Path) -> Any:
    x = own_mapping()
    libc("mlock", address(x), ctypes.c_size_t(COUNT))
    return x


def huge(comm: pyccl.Communicator, folder: Path) -> Any:
    try:
        return own_mapping(2 << 20, 0x40000)  # MAP_HUGETLB
    except OSError as error:
        pytest.skip(f"no huge pages are reserved: {error}")


def pinned(comm: pyccl.Communicator, folder: Path) -> Any:
    x = own_mapping()
    libc("madvise", address(x), ctypes.c_size_t(PAGE), DONTFORK)
    return x


def registered(comm: pyccl.Communicator, folder: Path) -> Any:
    x = aligned(COUNT)
    comm.register(x)
    return x


def beside(comm: pyccl.Communicator, folder: Path) -> Any:
    x = aligned(COUNT)
    comm.register(x[: PAGE + 100])
    return x[PAGE + 96 :]


def allocated(comm: pyccl.Communicator, folder: Path) -> Any:
    return comm.empty(COUNT, "uint8")[8:]


def strided(comm: pyccl.Communicator, folder: Path) -> Any:
    return aligned(COUNT)[::2]


def a_list(comm: pyccl.Communicator, folder: Path) -> Any:
    return [1.0, 2.0]


REFUSED: dict[Callable[[pyccl.Communicator, Path], Any], str] = {
    read_only: "x is read-only",
    protected: "in pages that are r--p",
    of_a_file: "backed by a file",
    copied_on_write: "backed by a file",
    shared_with_children: r"/dev/zero|shared with other processes",
    locked: "locked in memory",
    huge: "hugetlb",
    pinned: "MADV_DONTFORK",
    registered: "registered already",
    beside: "registered already",
    allocated: "registered already",
    strided: "C-contiguous",
    a_list: "must be an array",
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
@pytest.mark.parametrize("who", [{0}, {0, 1, 2}], ids=["one rank", "all ranks"])
def test_memory_that_cannot_move_is_refused_everywhere(make: Any, who: set[int], tmp_path: Path) -> None:
    def body(comm: pyccl.Communicator) -> str:
        good = aligned(COUNT)
        good[:] = comm.rank + 3
        try:
            made = make(comm, tmp_path)  # on all ranks: some of them are collective
        except pytest.skip.Exception as skipped:
            return str(skipped)
        bad = comm.rank in who
        before = moved(made) if make not in (a_list, strided) else 0
        with pytest.raises((TypeError, ValueError) if bad else pyccl.PeerAborted, match=REFUSED[make]):
            comm.register(made if bad else good)
        assert (good == comm.rank + 3).all()
        assert moved(good) == 0
        assert before == (moved(made) if make not in (a_list, strided) else 0)
        ranks.usable(comm)
        comm.register(good).close()
        return ""

    skipped = ranks.run(3, body)
    if skipped[0]:
        pytest.skip(skipped[0])


def test_what_another_communicator_has_registered_is_refused() -> None:
    def body(comm: pyccl.Communicator) -> None:
        x = aligned(COUNT)
        both = comm.split(0)
        assert both is not None
        with both, both.register(x), pytest.raises(ValueError, match="registered already"):
            comm.register(x)
        comm.register(x)

    ranks.run(2, body)


@pytest.mark.parametrize("other", [lambda c: c.register(np.ones(6000)), lambda c: c.empty(5000), lambda c: c.barrier()])
def test_ranks_that_disagree_change_nothing(other: Callable[[pyccl.Communicator], Any]) -> None:
    def body(comm: pyccl.Communicator) -> None:
        x = np.arange(5000.0)
        error = ranks.outcome(lambda: other(comm) if comm.rank == 1 else comm.register(x))
        assert isinstance(error, pyccl.MismatchError)
        assert "register(40000 bytes)" in str(error)
        assert moved(x) == 0
        assert np.array_equal(x, np.arange(5000.0))
        a, b = comm.empty(1000, "float64"), np.ones(1000)
        comm.register(b)
        before = comm._core.direct_runs
        comm.all_reduce(b, out=a)
        assert (a == comm.size).all()
        assert comm._core.direct_runs == before + 1

    ranks.run(3, body)


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
from tests.test_register import moved

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


def test_a_child_of_fork_has_a_copy_of_its_own() -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    done = subprocess.run(command, cwd=mpi.ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


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
        LIBC.mprotect(
            ctypes.c_void_p(start + page * PAGE), ctypes.c_size_t(PAGE), mmap.PROT_READ | mmap.PROT_WRITE
        )
    gc.collect()


test_mpi = mpi.checks(globals())
