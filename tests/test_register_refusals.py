"""What comm.register refuses: one reason on the rank that has it, the same on all others, and nothing changed."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyccl
from tests import ranks
from tests.pages import PAGE, aligned, moved

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
