"""Sync push_pull with SGD beside what MPI offers for it: one-sided, and a server of sends and receives."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from pyccl.bench.interface import connect
from pyccl.bench.report import describe
from pyccl.bench.server import HEAD, RATE, PushPull, alternate, figure, write_figures
from pyccl.bench.units import parse_size


class OneSided:
    """Windows over all ranks, cut as colocated shards are; Accumulate of -rate/n × gradient, then Get."""

    def __init__(self, comm: MPI.Intracomm, count: int) -> None:
        self.comm, self.steps = comm, 0
        self.bounds = [count * rank // comm.size for rank in range(comm.size + 1)]
        own = self.bounds[comm.rank + 1] - self.bounds[comm.rank]
        self.window = MPI.Win.Allocate(4 * own, 4, comm=comm)
        np.frombuffer(self.window.tomemory(), np.float32)[:] = 0
        self.gradient, self.out = np.ones(count, np.float32), np.zeros(count, np.float32)
        self.scaled = np.empty_like(self.gradient)
        comm.Barrier()

    def __call__(self) -> None:
        np.multiply(self.gradient, np.float32(-RATE / self.comm.size), out=self.scaled)
        self.window.Lock_all()
        for step in range(self.comm.size):
            rank = (self.comm.rank + step) % self.comm.size
            part = slice(self.bounds[rank], self.bounds[rank + 1])
            self.window.Accumulate(self.scaled[part], rank, op=MPI.SUM)
        self.window.Flush_all()
        self.comm.Barrier()
        for step in range(self.comm.size):
            rank = (self.comm.rank + step) % self.comm.size
            self.window.Get(self.out[self.bounds[rank] : self.bounds[rank + 1]], rank)
        self.window.Unlock_all()
        self.comm.Barrier()
        self.steps += 1

    def close(self) -> None:
        self.window.Free()


class SendReceive:
    """Rank 0 receives all gradients, applies their mean, and sends the parameters."""

    def __init__(self, comm: MPI.Intracomm, count: int) -> None:
        self.comm, self.steps = comm, 0
        self.gradient, self.out = np.ones(count, np.float32), np.zeros(count, np.float32)
        self.sum, self.other = np.empty_like(self.out), np.empty_like(self.out)

    def __call__(self) -> None:
        if self.comm.rank == 0:
            np.copyto(self.sum, self.gradient)
            for rank in range(1, self.comm.size):
                self.comm.Recv(self.other, rank)
                self.sum += self.other
            self.sum *= np.float32(RATE / self.comm.size)
            self.out -= self.sum
            for rank in range(1, self.comm.size):
                self.comm.Send(self.out, rank)
        else:
            self.comm.Send(self.gradient, 0)
            self.comm.Recv(self.out, 0)
        self.steps += 1

    def close(self) -> None:
        """Nothing is held."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1M,64M")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    world = connect()
    environment = describe(world)
    world.say(HEAD)
    comm: Any = world.comm
    figures = []
    for nbytes in map(parse_size, given.sizes.split(",")):
        ours, count = PushPull(comm, nbytes), nbytes // 4
        peers = {"MPI one-sided": OneSided(world.mpi, count), "MPI send, receive": SendReceive(world.mpi, count)}
        calls = {"push_pull": ours, **peers}
        times = dict(zip(calls, alternate(world, list(calls.values()), given.rounds), strict=True))
        for name, call in calls.items():
            expected = np.float32(-RATE * call.steps)
            wrong = world.mpi.allreduce(int(np.count_nonzero(call.out != expected)))
            figures.append(figure("peers", name, nbytes, world.size, "s", times[name], wrong))
        for name in peers:
            ratios = [a / b for a, b in zip(times[name], times["push_pull"], strict=True)]
            figures.append(figure("peers", f"{name} / push_pull", nbytes, world.size, "times", ratios))
        ours.ps.close()
        for peer in peers.values():
            peer.close()
    world.say("\n".join(one.line() for one in figures))
    if world.rank == 0 and given.json:
        environment["command"] = f"benchmarks/parameter_server.py --sizes {given.sizes} --rounds {given.rounds}"
        write_figures(given.json, environment, figures)
    with world.comm:
        pass


if __name__ == "__main__":
    main()
