# mpirun -n 3
"""A sharded embedding table: every rank asks the owners for the rows that it needs, as many as it needs of each.

mpirun -n 3 python docs/examples/embeddings_all_to_all.py
"""

import numpy as np

import pyccl

ROWS, WIDTH = 100, 8

with pyccl.init() as comm:
    p, r = comm.size, comm.rank
    shard = np.array([[row * 10.0 + k for k in range(WIDTH)] for row in range(ROWS) if row % p == r])
    wanted = np.unique(np.random.default_rng(r).integers(0, ROWS, 20))
    wanted = wanted[np.argsort(wanted % p, kind="stable")]  # grouped by owner: row % p

    asks = np.bincount(wanted % p, minlength=p)
    asked = comm.all_to_all(asks)  # how many rows every rank wants from me
    requests = comm.all_to_all(wanted, send_counts=asks, recv_counts=asked)

    answers = shard[requests // p]  # one row of the table per request
    rows = comm.all_to_all(answers, send_counts=asked * WIDTH, recv_counts=asks * WIDTH).reshape(-1, WIDTH)

    assert np.array_equal(rows[:, 0], wanted * 10.0)
    print(f"rank {r} sent {len(answers)} rows and received {len(rows)}")
