# mpirun -n 3
"""Shares of unequal length, one of them empty: counts are elements per rank, the same list on every rank.

mpirun -n 3 python docs/examples/uneven.py
"""

import numpy as np

import pyccl

with pyccl.init() as comm:
    p, r = comm.size, comm.rank
    counts = [5 * k for k in range(p)]  # rank 0 gets nothing
    x = np.arange(sum(counts), dtype="int64")

    mine = comm.reduce_scatter(x, counts=counts)  # my share of the sum over all ranks
    start = sum(counts[:r])
    assert np.array_equal(mine, p * x[start : start + counts[r]])

    whole = comm.all_gather(mine, counts=counts)  # the shares put together again, on every rank
    assert np.array_equal(whole, p * x)

    even = comm.reduce_scatter(np.ones(p + 1))  # without counts: as even as possible, larger shares first
    assert even.size == (2 if r == 0 else 1)
    print(f"rank {r}: {mine.size} of {x.size} elements")
