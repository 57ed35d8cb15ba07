# mpirun -n 3
"""An operation of one's own, compiled by numba and run by the same kernels as the sum.

mpirun -n 3 python docs/examples/user_op.py
"""

import math

import numpy as np

import pyccl


def log_add(a, b):
    """Return log(exp(a) + exp(b)) without overflow."""
    high, low = max(a, b), min(a, b)
    return high + math.log1p(math.exp(low - high))


def compose(f, g):
    """Apply first f, then g, each one `x -> slope x + offset` packed into a complex number: not commutative."""
    return complex(f.real * g.real, g.real * f.imag + g.imag)


with pyccl.init() as comm:
    logits = np.full(4, 1000.0 + comm.rank)
    total = comm.all_reduce(logits, pyccl.user_op(log_add))
    expected = np.logaddexp.reduce([1000.0 + rank for rank in range(comm.size)])
    assert np.allclose(total, expected)

    step = np.array([complex(2.0, comm.rank)])  # x -> 2 x + rank
    chain = comm.all_reduce(step, pyccl.user_op(compose, commutative=False))[0]
    x = 1.0
    for rank in range(comm.size):
        x = 2.0 * x + rank
    assert chain.real + chain.imag == x
    if comm.rank == 0:
        print(f"log-sum of {comm.size} ranks: {total[0]:.4f}; their maps in rank order: 1 -> {x:g}")
