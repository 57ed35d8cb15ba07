"""The operations of a round: what goes in, the call, and what must come out."""

from __future__ import annotations

import contextlib
import hashlib
from typing import Any

import numpy as np

import pyccl
from tests import oracle
from tests.nemesis.script import ALLOCATIONS, Step


class Operation:
    """One step as one rank sees it; making it talks to nobody."""

    def __init__(self, step: Step, index: int, rank: int, size: int) -> None:
        self.step, self.index, self.rank, self.size = step, index, rank, size
        self.part = step.count // size
        self._open = contextlib.ExitStack()
        self.name = "all_reduce" if step.name in ALLOCATIONS else step.name
        self.inputs = self._inputs()
        self.x = self.inputs[rank].copy()
        self.hash = hashlib.sha256(self.x.data).digest()
        self.keeps_input = step.mode != "in_place" and step.name not in ("broadcast", *ALLOCATIONS)

    def _inputs(self) -> list[Any]:
        size, part = self.size, self.part
        if self.name == "sendrecv":
            made = [np.arange(part * size) * 131 + 1009 * r for r in range(size)]
        else:
            counts = [part] * (size * size if self.name == "all_to_all" else size)
            if self.name == "all_to_all":
                counts = [max(1, part // size)] * len(counts)
            self.counts = counts
            made = oracle.make_inputs(self.name, size, counts, part * size, self.step.root)
        return [(x + 17 * self.index).astype(self.step.dtype) for x in made]

    def expected(self) -> Any:
        if self.name == "sendrecv":
            return self.inputs[(self.rank - 1) % self.size]
        if self.name == "barrier":
            return None
        return oracle.expected(self.name, self.inputs, self.step.root, self.counts)[self.rank]

    def run(self, comm: pyccl.Communicator) -> Any:
        """Make the calls; what they have registered stays so until `close`."""
        step, x = self.step, self.x
        if step.name == "empty":
            x = comm.empty(self.x.shape, self.x.dtype)
            if x.any():
                raise AssertionError("an array of comm.empty is not zero")
            x[...] = self.x
        elif step.name == "register" or (step.mode == "registered" and self.index % 2 and x.size):
            self._open.enter_context(comm.register(x))
        elif step.mode == "registered":
            x = comm.empty(self.x.shape, self.x.dtype)
            x[...] = self.x
        return self._sendrecv(comm, x) if self.name == "sendrecv" else self._collective(comm, x)

    def close(self) -> None:
        self._open.close()

    def _sendrecv(self, comm: pyccl.Communicator, x: Any) -> Any:
        call = comm.sendrecv_async if self.step.mode == "async" else comm.sendrecv
        got = call(x, (self.rank + 1) % self.size, np.empty_like(x), (self.rank - 1) % self.size)
        return got.wait() if self.step.mode == "async" else got

    def _collective(self, comm: pyccl.Communicator, x: Any) -> Any:
        step = self.step
        options: dict[str, Any] = {"algorithm": step.algorithm}
        if self.name in ("broadcast", "reduce", "gather", "scatter"):
            options["root"] = step.root
        if step.mode == "in_place" and self.name in ("all_reduce", "reduce"):
            options["out"] = x
        arguments = () if self.name == "barrier" else (x,)
        if step.mode == "async":
            return getattr(comm, f"{self.name}_async")(*arguments, **options).wait()
        if step.mode == "plan":
            return comm.plan(self.name, *arguments, **options)()
        return getattr(comm, self.name)(*arguments, **options)

    def wrong(self, got: Any) -> str:
        """Say how a result differs from what it must be; "" if it does not."""
        wanted = self.expected()
        if wanted is None or (got is None and wanted.size == 0):
            return ""
        if got is None or got.shape != wanted.shape:
            return f"got {got!r}, wanted shape {wanted.shape}"
        bad = np.flatnonzero(got != wanted)
        return f"{bad.size} of {got.size} elements differ, the first at {bad[0]}" if bad.size else ""

    def input_changed(self) -> bool:
        return self.keeps_input and hashlib.sha256(self.x.data).digest() != self.hash
