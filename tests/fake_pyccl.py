"""A communicator with pyccl's interface on top of mpi4py: the bench is tested without the library it measures.

`python tests/fake_pyccl.py FLAGS` runs the bench on it; PYCCL_FAKE_FAULT=stale|raise makes it misbehave.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pyccl.bench.baseline import make_baseline
from pyccl.bench.cases import Case
from pyccl.bench.cli import main
from pyccl.bench.data import reduced
from pyccl.bench.interface import Library, World


class FakeCommunicator:
    def __init__(self, mpi):
        self.mpi, self.rank, self.size = mpi, mpi.rank, mpi.size
        self.nodes = (0,) * mpi.size
        self.fault, self.calls = os.environ.get("PYCCL_FAKE_FAULT"), 0

    def barrier(self):
        self.mpi.Barrier()

    def empty(self, shape, dtype):
        return np.zeros(shape, dtype)

    def plan(self, collective, *args, **options):
        return lambda: getattr(self, collective)(*args, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def _run(self, kind, x, out, op="none"):
        self.calls += 1
        if self.fault == "raise" and self.rank == 1 and self.calls > 5:
            raise RuntimeError("the fault that was asked for")
        if self.fault == "stale" and self.calls % 3 == 0:
            return
        given, taken = (np.empty(0, other.dtype) if a is None else a for a, other in ((x, out), (out, x)))
        case = Case(kind, given.dtype.name, op, 0, self.size, in_place=x is out)
        call = make_baseline(self.mpi, case, given, taken)
        if call is not None:
            call()
        else:
            table = np.empty((self.size, given.size), given.dtype)
            raw = table.view(np.uint8)
            self.mpi.Allgather(given.view(np.uint8), raw)
            if out is not None:
                result = reduced(table, op)
                out[...] = result if kind != "reduce_scatter" else result[self.rank * out.size :][: out.size]

    def all_reduce(self, x, op="sum", *, out=None, algorithm="auto", timeout=None):
        self._run("all_reduce", x, out, op)

    def reduce_scatter(self, x, op="sum", *, out=None, algorithm="auto", timeout=None):
        self._run("reduce_scatter", x, out, op)

    def reduce(self, x, op="sum", *, root=0, out=None, algorithm="auto", timeout=None):
        self._run("reduce", x, out, op)

    def all_gather(self, x, *, out=None, algorithm="auto", timeout=None):
        self._run("all_gather", x, out)

    def broadcast(self, x, *, root=0, algorithm="auto", timeout=None):
        self._run("broadcast", x, x)

    def gather(self, x, *, root=0, out=None, algorithm="auto", timeout=None):
        self._run("gather", x, out)

    def scatter(self, x, *, root=0, out=None, algorithm="auto", timeout=None):
        self._run("scatter", x, out)

    def all_to_all(self, x, *, out=None, algorithm="auto", timeout=None):
        self._run("all_to_all", x, out)

    def sendrecv(self, x, *, dest, source, out=None, timeout=None):
        self._run("sendrecv", x, out)


def connect():
    from mpi4py import MPI

    library = Library("0.0-fake", lambda kind, size: ("one", "two"), lambda factor: "premul_sum")
    return World(FakeCommunicator, MPI.COMM_WORLD, library)


if __name__ == "__main__":
    sys.exit(main(connect=connect))
