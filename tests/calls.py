"""One collective call on plain arrays: how it is made through the API, and what the oracle says of it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

import pyccl
from pyccl.collectives import COLLECTIVES, split
from tests import oracle
from tests.oracle import Array

BLOCKED = ("reduce_scatter", "all_gather", "gather", "scatter")


@dataclass(frozen=True)
class Case:
    """A call; `count` elements on the large side (per block for an even all_to_all).

    `uneven`: counts per rank (per pair of ranks for all_to_all) drawn from a fixed seed. `style`: "new" lets the
    library make the result, "out" gives it an array, "in place" lets input and output coincide.
    """

    collective: str
    algorithm: str
    size: int
    count: int
    root: int = 0
    uneven: bool = False
    style: str = "new"
    dtype: str = "int64"

    def __str__(self) -> str:
        how = f"{'uneven ' if self.uneven else ''}{self.style}"
        return f"{self.collective}/{self.algorithm} count={self.count} root={self.root} {self.dtype} {how}"

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Elements per rank, for all_to_all per (source, dest)."""
        draw = random.Random(f"{self.size} {self.count} {self.root}")
        if self.collective == "all_to_all":
            pairs = self.size * self.size
            return tuple(draw.randrange(self.count + 1) for _ in range(pairs)) if self.uneven else (self.count,) * pairs
        if not self.uneven:
            return split(self.count, self.size)
        cuts = [0, *sorted(draw.randrange(self.count + 1) for _ in range(self.size - 1)), self.count]
        return tuple(b - a for a, b in itertools.pairwise(cuts))

    @cached_property
    def inputs(self) -> list[Array]:
        made = oracle.make_inputs(self.collective, self.size, self.counts, self.count, self.root)
        return [x.astype(self.dtype) for x in made]

    @cached_property
    def outputs(self) -> list[Array]:
        return oracle.expected(self.collective, self.inputs, self.root, self.counts)

    def run(self, comm: pyccl.Communicator, make: Any = None) -> str:
        """Make the call on this rank; return what is wrong with its outcome, nothing if all is right.

        `make(array)` returns the array to hand in instead, of equal contents; `comm.empty` for registered ones.
        """
        name, rank, place = self.collective, comm.rank, make or np.copy
        x, want = self.inputs[rank], self.outputs[rank]
        options: dict[str, Any] = {"algorithm": self.algorithm}
        if COLLECTIVES[name].rooted:
            options["root"] = self.root
        if name == "barrier":
            return "" if comm.barrier(**options) is None else "barrier returned something"
        receives = name not in ("reduce", "gather") or rank == self.root
        if name == "all_to_all" and self.uneven:
            options["send_counts"] = self.counts[rank * self.size : (rank + 1) * self.size]
            options["recv_counts"] = self.counts[rank :: self.size]
        if name in BLOCKED and (self.uneven or (name != "reduce_scatter" and self.count % self.size)):
            options["counts"] = self.counts
        given, out = self._arrays(rank, x, want, place, receives)
        if out is not None:
            options["out"] = out
        if name == "scatter" and rank != self.root:
            options.pop("out", None)
            got = comm.scatter(out=place(np.full_like(want, 77)), **options)
        else:
            got = getattr(comm, name)(given, **options)
        return self._judge(got, given, x, want, receives)

    def _arrays(self, rank: int, x: Array, want: Array, place: Any, receives: bool) -> tuple[Array, Array | None]:
        """Return the input as the style wants it, and the output to give, if any."""
        name, start = self.collective, sum(self.counts[:rank])
        if name == "broadcast":
            return place(x if rank == self.root else np.full_like(want, 77)), None
        if self.style == "new" or not receives:
            return place(x), None
        if self.style == "out" or (name == "all_to_all" and x.size != want.size):
            return place(x), place(np.full_like(want, 77))
        if name in ("reduce_scatter", "scatter"):
            given = place(x)
            return given, given[start : start + self.counts[rank]]
        if name in ("all_gather", "gather"):
            out = np.full_like(want, 77)
            out[start : start + x.size] = x
            out = place(out)
            return out[start : start + x.size], out
        given = place(x)
        return given, given

    def _judge(self, got: Any, given: Array, x: Array, want: Array, receives: bool) -> str:
        if not receives:
            return "" if got is None and np.array_equal(given, x) else f"{self}: a rank without a result has {got}"
        if got.dtype != want.dtype or got.size != want.size or not np.array_equal(got.reshape(-1), want):
            return f"{self}: got {got}, expected {want}"
        if self.style != "in place" and self.collective != "broadcast" and not np.array_equal(given, x):
            return f"{self}: the input was changed"
        return ""


def registered(comm: pyccl.Communicator) -> Any:
    """Return a function that copies an array into registered memory; collective where the sizes agree."""

    def make(x: Array) -> Array:
        fresh = comm.empty(x.shape, x.dtype)
        fresh[...] = x
        return fresh

    return make


def failures(comm: pyccl.Communicator, cases: Sequence[Case], make: Any = None) -> list[str]:
    """Run all cases in order; return what went wrong."""
    return [f"rank {comm.rank}: {text}" for text in (case.run(comm, make) for case in cases) if text]
