"""The call of pyccl that a case times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .cases import REDUCING, ROOT, ROOTED
from .data import PREMUL_FACTOR

if TYPE_CHECKING:
    from .cases import Case
    from .interface import Array, Call, World


def make_call(world: World, case: Case, x: Array, out: Array, timeout: float | None, *, plan: bool) -> Call:
    """Return a call of the collective on `x` and `out`; with `plan` a persistent one, resolved here."""
    comm = world.comm
    if case.collective == "barrier":
        return comm.plan("barrier") if plan else comm.barrier
    kwargs: dict[str, Any] = {}
    if case.algorithm != "auto":
        kwargs["algorithm"] = case.algorithm
    if timeout is not None and not plan:
        kwargs["timeout"] = timeout
    if case.collective in ROOTED:
        kwargs["root"] = ROOT
    if case.collective != "broadcast":
        kwargs["out"] = out if case.counts(comm.rank)[1] else None
    if case.collective == "sendrecv":
        kwargs.pop("algorithm", None)
        kwargs |= {"dest": (comm.rank + 1) % comm.size, "source": (comm.rank - 1) % comm.size}
    args: tuple[Any, ...] = (x if case.counts(comm.rank)[0] else None,)
    if case.collective in REDUCING:
        args += (world.library.premul_sum(PREMUL_FACTOR) if case.op == "premul_sum" else case.op,)
    if plan and case.collective != "sendrecv":
        return comm.plan(case.collective, *args, **kwargs)
    method = getattr(comm, case.collective)
    return lambda: method(*args, **kwargs)
