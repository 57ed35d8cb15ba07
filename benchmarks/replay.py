"""How fast a replay is: the ring all_reduce of many ranks, as nodes of a trace. Prints seconds of one core."""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from pyccl.sim import Cluster, LogGP, replay
from pyccl.sim.trace import Columns, Kind, Trace


def ring(size: int, nbytes: int) -> Trace:
    """A send waits for the recv before it."""
    steps = 2 * (size - 1)
    nodes = 2 * steps

    def same(value: int, dtype: type) -> np.ndarray:
        return np.broadcast_to(np.array(value, dtype), (nodes,))

    kind = np.tile(np.array([Kind.SEND, Kind.RECV], np.uint8), steps)
    waits = np.zeros(nodes, np.int64)
    waits[2::2] = 1
    starts = np.concatenate([[0], np.cumsum(waits)])
    deps = np.arange(1, nodes - 1, 2, dtype=np.int32)
    begun = np.broadcast_to(np.False_, deps.shape)
    columns = []
    for rank in range(size):
        peer = np.tile(np.array([(rank + 1) % size, (rank - 1) % size], np.int32), steps)
        columns.append(
            Columns(kind, same(nbytes, np.int64), peer, same(0, np.int32), same(0, np.float64), same(-1, np.int8),
                    same(-1, np.int32), same(0, np.int32), starts, deps, begun)
        )  # fmt: skip
    return Trace(tuple(columns), size, source="ring")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, default=1024)
    size = parser.parse_args().ranks
    trace = ring(size, 65536)
    cluster = Cluster.switch(hosts=size, nic="12.5 GB/s", latency="1 us")
    print(f"{len(trace)} nodes")
    for name, settings in (("cluster", {}), ("LogGP", {"loggp": LogGP(L="2 us", G="0.08 ns")})):
        for spans in (False, True):
            begin = time.process_time()
            result = replay(trace, cluster, spans=spans, **settings)
            seconds = time.process_time() - begin
            print(
                f"{name}{', spans' if spans else ''}: {seconds:.2f} s, {result.events / seconds / 1e6:.2f} million "
                f"events/s, simulated {result.time * 1e3:.6f} ms"
            )
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


if __name__ == "__main__":
    main()
