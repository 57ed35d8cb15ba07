# mpirun -n 4
"""Training that loses a rank and goes on. Rank 1 is killed at step 30 under MPICH's or Open MPI's mpirun by

mpirun -disable-auto-cleanup -n 4 python -m pyccl.launch docs/examples/survive.py 30
mpirun --with-ft ulfm -n 4 python -m pyccl.launch docs/examples/survive.py 30

and nobody by
mpirun -n 4 python docs/examples/survive.py
"""

import os
import signal
import sys

import numpy as np

import pyccl

FEATURES, STEPS = 200, 60
fatal_step = int(sys.argv[1]) if sys.argv[1:] else None
comm = pyccl.init(timeout=60)
me = comm.rank
data = np.random.default_rng(me)  # every rank has data of its own
x = data.standard_normal((3 * FEATURES, FEATURES))
y = x @ np.linspace(-1, 1, FEATURES)
weights, step = np.zeros(FEATURES), 0

while step < STEPS:
    if step == fatal_step and me == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        gradient = comm.all_reduce(x.T @ (x @ weights - y) / len(y), "avg")
    except pyccl.PeerLost:
        lost, comm = comm.lost, comm.shrink()
        if comm.rank == 0:
            print(f"lost rank {', '.join(map(str, lost))} at step {step}; {comm.size} go on", flush=True)
        state = comm.broadcast(np.append(weights, step))  # some may have finished the step that others have not
        weights, step = state[:-1], int(state[-1])
    else:
        weights -= 0.5 * gradient
        step += 1

loss = comm.all_reduce(np.mean((x @ weights - y) ** 2, keepdims=True), "avg")[0]
if comm.rank == 0:
    print(f"{comm.size} ranks, final loss {loss:.1e}")
