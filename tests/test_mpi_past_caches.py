"""Outputs so large that they are written past the caches, in private arrays."""

from __future__ import annotations

import numpy as np

import pyccl
from tests import mpi

SIZES = (2, 3)
BYTES = 33 << 20  # of all ranks; at 32 MiB the stores change


def numbers(count: int, rank: int) -> np.ndarray:
    return np.random.default_rng(rank).integers(-1000, 1000, count, np.int16)


@mpi.check(sizes=SIZES)
def every_element_arrives(comm: pyccl.Communicator) -> None:
    count = BYTES // 2 // comm.size + 7
    all_of_them = [numbers(count, rank) for rank in range(comm.size)]
    mine, total = all_of_them[comm.rank], np.sum(all_of_them, axis=0, dtype=np.int16)
    room = np.zeros(count + 64, np.int16)
    for shift in (0, 1, 33):  # where an output begins within a cache line
        out = room[shift : shift + count]
        np.testing.assert_array_equal(comm.all_reduce(mine, out=out), total)
        assert not room[:shift].any()
        assert not room[shift + count :].any()
        room[:] = 0
    both = mine.copy()
    np.testing.assert_array_equal(comm.all_reduce(both, out=both), total)
    both = mine.copy()
    comm.broadcast(both, root=comm.size - 1)
    np.testing.assert_array_equal(both, all_of_them[-1])


@mpi.check(sizes=SIZES)
def every_part_arrives(comm: pyccl.Communicator) -> None:
    part = BYTES // 2 // comm.size // comm.size + 7
    count = part * comm.size
    all_of_them = np.stack([numbers(count, rank) for rank in range(comm.size)])
    mine = all_of_them[comm.rank]
    gathered = comm.all_gather(mine[:part])
    np.testing.assert_array_equal(gathered.reshape(comm.size, part), all_of_them[:, :part])
    own = slice(comm.rank * part, (comm.rank + 1) * part)
    np.testing.assert_array_equal(comm.reduce_scatter(mine), all_of_them.sum(0, dtype=np.int16)[own])
    np.testing.assert_array_equal(comm.all_to_all(mine), all_of_them[:, own].reshape(-1))


test_mpi = mpi.checks(globals())
