"""Scenarios A and B as a SimPy user writes them; prints CPU seconds and the answer. Needs SimPy, not pyccl."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Generator
from typing import Any

import simpy

RATE = 12.5e9


def ring(n: int) -> float:
    """A process per rank: in every step it tells its right neighbour, hears its left one and moves a chunk."""
    env = simpy.Environment()
    boxes = [simpy.Store(env) for _ in range(n)]
    step = (64 << 20) / n / RATE + 2e-6

    def rank(r: int) -> Generator[Any, Any, None]:
        for _ in range(2 * (n - 1)):
            boxes[(r + 1) % n].put(None)
            yield boxes[r].get()
            yield env.timeout(step)

    for r in range(n):
        env.process(rank(r))
    env.run()
    return float(env.now)


class SharedLink:
    """Fair sharing the plain way: whenever a transfer comes or goes, all are brought up to date."""

    def __init__(self, env: simpy.Environment) -> None:
        self.env, self.left, self.since, self.version = env, {}, 0.0, 0

    def move(self, nbytes: float) -> Any:
        """Return an event for the end of a transfer."""
        self._update()
        done = self.env.event()
        self.left[done] = nbytes
        self._plan()
        return done

    def _update(self) -> None:
        if self.left:
            moved = (self.env.now - self.since) * RATE / len(self.left)
            for event in self.left:
                self.left[event] -= moved
        self.since = self.env.now

    def _plan(self) -> None:
        self.version += 1
        if self.left:
            first = min(self.left.values())
            self.env.process(self._wake(max(first, 0.0) * len(self.left) / RATE, self.version))

    def _wake(self, delay: float, version: int) -> Generator[Any, Any, None]:
        yield self.env.timeout(delay)
        if version == self.version:
            self._update()
            done = min(self.left, key=self.left.__getitem__)
            del self.left[done]
            done.succeed()
            self._plan()


def server(n: int) -> float:
    """Workers compute, push over one shared link and pull over another, ten times."""
    env = simpy.Environment()
    push, pull = SharedLink(env), SharedLink(env)

    def worker(i: int) -> Generator[Any, Any, None]:
        for k in range(10):
            yield env.timeout(0.1 + 0.2 * ((7919 * i + 104729 * k) % 1000) / 1000)
            yield push.move(100e6)
            yield pull.move(100e6)

    for i in range(n):
        env.process(worker(i))
    env.run()
    return float(env.now)


begin = time.process_time()
result = {"A": ring, "B": server}[sys.argv[1]](int(sys.argv[2]))
print(json.dumps({"seconds": time.process_time() - begin, "answer": result, "simpy": simpy.__version__}))
