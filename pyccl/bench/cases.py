"""What is timed: one case is a collective, an algorithm, a dtype, an op and a size; and what it must compute."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pyccl.collectives import COLLECTIVES
from pyccl.ops import BUILTIN, premul_sum, resolve_op

from .data import Pattern, Segment, contributions, dtype_of, reduced

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]

REDUCING = tuple(row.name for row in COLLECTIVES.values() if row.reduces and row.name != "barrier")
ROOTED = tuple(row.name for row in COLLECTIVES.values() if row.rooted)
CHUNKED = tuple(row.name for row in COLLECTIVES.values() if row.fixed_chunks is not None and row.name != "barrier")
NAMES = (*(name for name in COLLECTIVES if name != "barrier"), "sendrecv", "barrier")
DTYPES = (
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
    "float16", "bfloat16", "float32", "float64", "complex64", "complex128",
)  # fmt: skip
OPS = (*BUILTIN, "premul_sum")
ROOT = 0


@dataclass(frozen=True)
class Case:
    """One line of the table. `count` is the elements of the large side: the whole vector, or all ranks' chunks."""

    collective: str
    dtype: str
    op: str  # "none" where nothing is reduced
    count: int
    size: int
    algorithm: str = "auto"
    registered: bool = False
    in_place: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of the large side."""
        return self.count * int(dtype_of(self.dtype).itemsize)

    @property
    def root(self) -> int:
        """The root, or -1 where there is none (as nccl-tests prints it)."""
        return ROOT if self.collective in ROOTED else -1

    @property
    def share(self) -> int:
        """Elements of one rank's chunk."""
        return self.count // self.size

    def counts(self, rank: int) -> tuple[int, int]:
        """Return how many elements `rank` passes in and gets out; equal ones twice where input and output are one."""
        n, c = self.count, self.share
        table = {"reduce_scatter": (n, c), "all_gather": (c, n), "gather": (c, n), "scatter": (n, c), "barrier": (0, 0)}
        given, taken = table.get(self.collective, (n, n))
        if self.collective == "scatter" and rank != ROOT:
            given = 0
        if self.collective in ("gather", "reduce") and rank != ROOT:
            taken = 0
        return given, taken

    @property
    def bus_factor(self) -> float:
        """busbw = algbw * bus_factor; sendrecv is no collective: every byte crosses one link once."""
        return 1.0 if self.collective == "sendrecv" else COLLECTIVES[self.collective].busbw_factor(self.size)

    @property
    def shares_buffer(self) -> bool:
        """Whether the output lies where the input lay."""
        return self.collective == "broadcast" or (self.collective == "all_reduce" and self.in_place)


@dataclass(frozen=True)
class Expectation:
    """Of one rank in one case: what it passes in, and what must come out."""

    inputs: tuple[Segment, ...]
    outputs: tuple[Segment, ...]

    def fill(self, x: Array, shift: int) -> None:
        """Write this rank's input."""
        for segment in self.inputs:
            segment.fill(x, shift)

    def wrong(self, out: Array, shift: int, sample: int = 1) -> int:
        """Return how many elements of the output are wrong."""
        return sum(segment.wrong(out, shift, sample) for segment in self.outputs)


@lru_cache(maxsize=8)
def _patterns(dtype: str, op: str, size: int) -> tuple[list[Pattern], Pattern]:
    table = contributions(dtype_of(dtype), op, size)
    result = table[0] if op == "none" else reduced(table, op)
    return [Pattern(row) for row in table], Pattern(result)


def expectation(case: Case, rank: int) -> Expectation:
    """Return the input and the oracle of `rank`."""
    ranks, result = _patterns(case.dtype, case.op, case.size)
    given, taken = case.counts(rank)
    c, p, kind = case.share, case.size, case.collective
    inputs = (Segment(0, given, ranks[rank], 0),)
    if kind in ("all_reduce", "reduce"):
        outputs = [Segment(0, taken, result, 0)]
    elif kind == "reduce_scatter":
        outputs = [Segment(0, c, result, rank * c)]
    elif kind == "broadcast":
        outputs = [Segment(0, taken, ranks[ROOT], 0)]
        # what the others hold before must differ from what they receive
        inputs = (Segment(0, given, ranks[rank], 0 if rank == ROOT else 1),)
    elif kind in ("all_gather", "gather"):
        outputs = [Segment(r * c, c, ranks[r], 0) for r in range(p)] if taken else []
    elif kind == "scatter":
        outputs = [Segment(0, c, ranks[ROOT], rank * c)]
    elif kind == "all_to_all":
        outputs = [Segment(r * c, c, ranks[r], rank * c) for r in range(p)]
    elif kind == "sendrecv":
        outputs = [Segment(0, taken, ranks[(rank - 1) % p], 0)]
    else:
        return Expectation((), ())
    return Expectation(inputs, tuple(outputs))


def round_count(collective: str, nbytes: int, itemsize: int, size: int) -> int:
    """Return the elements nearest below `nbytes` that every rank gets an equal and non-empty share of."""
    if collective == "barrier":
        return 0
    unit = size if collective in CHUNKED else 1
    return max(nbytes // itemsize // unit, 1) * unit


def defined(op: str, dtype: str) -> bool:
    """Whether pyccl defines `op` on `dtype`."""
    known = premul_sum(1.0) if op == "premul_sum" else resolve_op(op)
    return dtype in known.dtypes


def make_cases(
    collectives: Iterable[str],
    sizes: Sequence[int],
    *,
    dtypes: Sequence[str],
    ops: Sequence[str],
    algorithms: Mapping[str, Sequence[str]],
    size: int,
    registered: bool = False,
    in_place: bool = False,
) -> list[Case]:
    """Return every combination once, sizes innermost; `algorithms` names what to time of each collective."""
    cases: dict[Case, None] = {}
    for kind in collectives:
        kind_ops = ops if kind in REDUCING else ("none",)
        kind_dtypes = ("uint8",) if kind == "barrier" else dtypes
        chosen = [(d, o) for d in kind_dtypes for o in kind_ops if o == "none" or defined(o, d)]
        for algorithm in algorithms.get(kind, ("auto",)):
            for dtype, op in chosen:
                for nbytes in sizes:
                    count = round_count(kind, nbytes, dtype_of(dtype).itemsize, size)
                    cases[Case(kind, dtype, op, count, size, algorithm, registered, in_place)] = None
    return list(cases)
