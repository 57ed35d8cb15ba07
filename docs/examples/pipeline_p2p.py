# mpirun -n 3
"""A pipeline: every rank is one stage, works on a micro-batch and hands it to the next while the next one comes in.

mpirun -n 3 python docs/examples/pipeline_p2p.py
"""

import numpy as np

import pyccl

BATCHES, WIDTH = 6, 1000

with pyccl.init() as comm:
    first, last = comm.rank == 0, comm.rank == comm.size - 1
    inbox = [np.empty(WIDTH) for _ in range(BATCHES)]
    arriving = [] if first else [comm.recv_async(inbox[i], comm.rank - 1, tag=i) for i in range(BATCHES)]
    leaving = []
    for i in range(BATCHES):
        batch = np.full(WIDTH, float(i)) if first else arriving[i].wait()
        batch = 2 * batch + 1  # this stage's work
        if last:
            assert (batch == 2**comm.size * (i + 1) - 1).all()
        else:
            leaving.append(comm.send_async(batch, comm.rank + 1, tag=i))
    for work in leaving:
        work.wait()
    if last:
        print(f"{BATCHES} batches passed {comm.size} stages")
