# mpirun -n 4
"""An algorithm of one's own: written, proved for many sizes, looked at in two ways, then run.

mpirun -n 4 python docs/examples/own_algorithm.py
"""

import json
from pathlib import Path

import numpy as np

import pyccl
from pyccl.algorithms import build, register_algorithm
from pyccl.schedule import verify


def centre(b):
    """All_reduce through rank 0: it combines everything in one pass, then sends the result to everybody."""
    others = [rank for rank in range(b.size) if rank != 0]
    b.chunks(1)
    if b.rank == 0 and others:
        b.recv_reduce(chunk=0, source=others)
        b.send(chunk=0, dest=others)
    elif b.rank != 0:
        b.send(chunk=0, dest=0)
        b.recv(chunk=0, source=0)


register_algorithm("all_reduce", centre, order="rank", commutative_only=False)  # verify checks both promises
for size in range(1, 33):
    verify(build("all_reduce", "centre", size))

with pyccl.init() as comm:
    schedule = build("all_reduce", "centre", comm.size)
    if comm.rank == 0:
        print(schedule.text())
        timeline = schedule.chrome_trace(alpha=5e-6, beta=1e-10, gamma=5e-11, nbytes=1 << 20)
        Path("centre.json").write_text(json.dumps(timeline))  # open it in chrome://tracing or ui.perfetto.dev
    x = np.full(10, comm.rank + 1.0)
    total = comm.all_reduce(x, algorithm="centre")
    assert (total == comm.size * (comm.size + 1) / 2).all()
