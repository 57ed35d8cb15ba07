# mpirun -n 3
"""Data-parallel training: gradients are averaged in buckets, each on its way while the next is being computed.

mpirun -n 3 python docs/examples/data_parallel.py
"""

import numpy as np

import pyccl

FEATURES, BUCKETS, STEPS = 1000, 4, 20

with pyccl.init() as comm:
    data = np.random.default_rng(comm.rank)  # every rank has data of its own
    truth = np.linspace(-1, 1, FEATURES)
    x = data.standard_normal((2 * FEATURES, FEATURES))
    y = x @ truth
    weights = np.zeros(FEATURES)

    for _ in range(STEPS):
        error = x @ weights - y
        gradients, works = [], []
        for columns in np.array_split(np.arange(FEATURES), BUCKETS):
            bucket = x[:, columns].T @ error / len(y)
            works.append(comm.all_reduce_async(bucket, "avg", out=bucket))
            gradients.append(bucket)
        for work in works:
            work.wait()  # only now may the buckets be read
        weights -= 0.6 * np.concatenate(gradients)

    everybody = comm.all_gather(weights[np.newaxis])
    assert (everybody == weights).all(), "all ranks hold the same weights, bit for bit"
    assert np.abs(weights - truth).max() < 0.05
    if comm.rank == 0:
        print(f"{comm.size} ranks found {FEATURES} weights, largest error {np.abs(weights - truth).max():.1e}")
