"""One rank of one peer, started by compare.py in the peer's own environment; needs NumPy and the peer, not pyccl.

Times are of this rank; compare.py takes the maximum over the ranks. Ranks agree on how many iterations to run through
a file that they all map, because the peers share no other means that costs the measurement nothing.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    Call = Callable[[], object]
    Array = np.ndarray[Any, Any]

LEAST = 5


class UnsupportedError(Exception):
    """The peer has no such operation or dtype."""


def private_array(count: int, dtype: np.dtype[Any]) -> Array:
    """Return zeros in page-aligned private memory for which huge pages are advised, as NumPy does from 4 MiB on."""
    memory = mmap.mmap(-1, max(count * dtype.itemsize, mmap.PAGESIZE), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    array = np.frombuffer(memory, dtype, count)
    array[:] = 0  # touched by its owner
    return array


def shapes(collective: str, count: int, size: int) -> tuple[int, int]:
    """Return the elements in and out of one rank when the large side has `count`."""
    small = count // size
    return {"reduce_scatter": (count, small), "all_gather": (small, count)}.get(collective, (count, count))


class Mpi:
    """Any MPI, through mpi4py."""

    def __init__(self) -> None:
        from mpi4py import MPI

        self.api, self.comm = MPI, MPI.COMM_WORLD
        self.rank, self.size, self.barrier = self.comm.rank, self.comm.size, self.comm.Barrier

    def prepare(self, collective: str, count: int, dtype: str, *, in_place: bool) -> tuple[Call, Array, Array]:
        names = {"float32": "FLOAT", "float64": "DOUBLE", "float16": "FLOAT16_T", "int32": "INT32_T"}
        datatype = getattr(self.api, names.get(dtype, ""), self.api.DATATYPE_NULL)
        if datatype == self.api.DATATYPE_NULL:
            raise UnsupportedError(dtype)
        given, taken = shapes(collective, count, self.size)
        x = private_array(given, dtype_named(dtype))
        out = x if in_place else private_array(taken, dtype_named(dtype))
        send, receive, comm = [x, datatype], [out, datatype], self.comm
        calls: dict[str, Call] = {
            "all_reduce": lambda: comm.Allreduce(self.api.IN_PLACE if in_place else send, receive),
            "reduce_scatter": lambda: comm.Reduce_scatter_block(send, receive),
            "all_gather": lambda: comm.Allgather(send, receive),
        }
        return calls[collective], x, out

    def close(self) -> None:
        """MPI ends with the process."""


class Gloo:
    """torch.distributed's CPU backend."""

    def __init__(self) -> None:
        import torch
        import torch.distributed as dist

        torch.set_num_threads(1)
        self.torch, self.dist = torch, dist
        self.rank, self.size, self.barrier = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), dist.barrier
        store = Path(sys.argv[1]) / "gloo"
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=self.rank, world_size=self.size)

    def prepare(self, collective: str, count: int, dtype: str, *, in_place: bool) -> tuple[Call, Array, Array]:
        dist = self.dist
        if collective == "all_reduce" and not in_place:
            raise UnsupportedError("torch reduces in place only")
        given, taken = shapes(collective, count, self.size)
        x = private_array(given, dtype_named(dtype))
        out = x if in_place else private_array(taken, dtype_named(dtype))
        source, target = self.torch.from_numpy(x), self.torch.from_numpy(out)
        calls: dict[str, Call] = {
            "all_reduce": lambda: dist.all_reduce(source),
            "reduce_scatter": lambda: dist.reduce_scatter_tensor(target, source),
            "all_gather": lambda: dist.all_gather_into_tensor(target, source),
        }
        return calls[collective], x, out

    def close(self) -> None:
        self.dist.destroy_process_group()


class Pyccl:
    """This project; BENCH_ARRAYS=registered takes arrays from comm.empty(), BENCH_PLAN=1 persistent plans."""

    def __init__(self) -> None:
        import pyccl

        self.comm = pyccl.init()
        self.rank, self.size, self.barrier = self.comm.rank, self.comm.size, self.comm.barrier

    def _array(self, count: int, dtype: np.dtype[Any]) -> Array:
        if os.environ.get("BENCH_ARRAYS") != "registered":
            return private_array(count, dtype)
        array: Array = self.comm.empty((count,), dtype)
        array[...] = 0
        return array

    def prepare(self, collective: str, count: int, dtype: str, *, in_place: bool) -> tuple[Call, Array, Array]:
        given, taken = shapes(collective, count, self.size)
        x = self._array(given, dtype_named(dtype))
        out = x if in_place else self._array(taken, dtype_named(dtype))
        if os.environ.get("BENCH_PLAN") == "1":
            return self.comm.plan(collective, x, out=out), x, out
        method = getattr(self.comm, collective)
        return (lambda: method(x, out=out)), x, out

    def close(self) -> None:
        self.comm.close()


BACKENDS = {"mpi": Mpi, "gloo": Gloo, "pyccl": Pyccl}


def check(collective: str, call: Call, x: Array, out: Array, peer: Any) -> None:
    """Raise if the peer computes something else. Leaves zeros, which stay zeros however often they are summed."""
    x[:] = peer.rank + 1
    call()
    size = peer.size
    if collective == "all_gather":
        wanted: Any = np.repeat(np.arange(1, size + 1), out.size // size).astype(out.dtype)
    else:
        wanted = size * (size + 1) / 2
    if not (out == wanted).all():
        raise RuntimeError(f"{collective} of {x.nbytes} B is wrong")
    x[:] = 0


def time_case(peer: Any, call: Call, agreed: Array, budget: float, most: int) -> list[float]:
    """Return this rank's seconds of every iteration, each after an untimed barrier of the peer."""

    def once() -> float:
        peer.barrier()
        start = perf_counter()
        call()
        return perf_counter() - start

    trial = [once() for _ in range(4)]
    if peer.rank == 0:
        agreed[0] = int(min(most, max(LEAST, budget / max(min(trial[1:]), 1e-9))))
    peer.barrier()
    times: list[float] = []
    end = perf_counter() + 3 * budget
    while True:
        if peer.rank == 0 and len(times) >= LEAST and perf_counter() > end:
            agreed[0] = min(agreed[0], len(times))  # read by all behind the barrier that follows
        peer.barrier()
        if len(times) >= agreed[0]:
            return times
        start = perf_counter()
        call()
        times.append(perf_counter() - start)


def outweigh_other_sessions() -> None:
    """Let whatever else runs on the machine wait, as far as this user may; the launcher's grouping stays as it is."""
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("-20")


def dtype_named(name: str) -> np.dtype[Any]:
    """Return the dtype; bfloat16 is not NumPy's own."""
    if name != "bfloat16":
        return np.dtype(name)
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)


def main() -> None:
    outweigh_other_sessions()
    """Run every case of the specification in the folder named on the command line."""
    folder = Path(sys.argv[1])
    spec = json.loads((folder / "spec.json").read_text())
    peer = BACKENDS[spec["backend"]]()
    with (folder / "agreed").open("r+b") as file:
        agreed = np.frombuffer(mmap.mmap(file.fileno(), 0), np.int64)
    results = []
    for index, case in enumerate(spec["cases"]):
        itemsize = dtype_named(case["dtype"]).itemsize
        count = max(case["bytes"] // itemsize // peer.size, 1) * peer.size
        try:
            call, x, out = peer.prepare(case["collective"], count, case["dtype"], in_place=case["in_place"])
        except UnsupportedError:
            continue
        check(case["collective"], call, x, out, peer)
        slot = agreed[index : index + 1]
        results.append({"case": index, "times": time_case(peer, call, slot, spec["budget"], spec["most"])})
        del call, x, out
    (folder / f"rank{peer.rank}.json").write_text(json.dumps(results))
    peer.barrier()
    peer.close()


if __name__ == "__main__":
    main()
