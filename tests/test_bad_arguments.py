"""A bad argument on one rank: TypeError or ValueError there, PeerAborted elsewhere, nothing moved, and on it goes."""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyccl
from tests import ranks

SIZE, N = 3, 12
Call = Callable[[pyccl.Communicator, Any], Any]


def readonly(a: Any) -> Any:
    a.flags.writeable = False
    return a


def unaligned() -> Any:
    return np.zeros(8 * N + 1, np.uint8)[1:].view(np.float64)


def overlapping(comm: pyccl.Communicator, x: Any) -> Any:
    memory = np.zeros(2 * N)
    return comm.all_reduce(memory[:N], out=memory[N // 2 : N // 2 + N])


def locked_later(comm: pyccl.Communicator, x: Any) -> Any:
    step = comm.plan("all_reduce", x, out=x)
    x.flags.writeable = False
    return step()


class Broken:
    """Raises something unforeseen when it is looked at."""

    def __dlpack__(self) -> Any:
        return 1 / 0

    __dlpack_device__ = __dlpack__


# what a bad `x` of all_reduce may be, and what the message must say
INPUTS: dict[str, tuple[Any, type[Exception], str]] = {
    "strided": (np.zeros(2 * N)[::2], ValueError, "x must be C-contiguous"),
    "negative stride": (np.zeros(N)[::-1], ValueError, "x must be C-contiguous"),
    "stride of zero": (np.broadcast_to(1.0, (N,)), ValueError, "x must be C-contiguous"),
    "Fortran order": (np.zeros((3, 4), order="F"), ValueError, "x must be C-contiguous"),
    "big-endian": (np.zeros(N, ">f8"), TypeError, "x has dtype"),
    "structured": (np.zeros(N, [("a", "f8")]), TypeError, "x has dtype"),
    "object": (np.zeros(N, object), TypeError, "x has dtype"),
    "text": (np.zeros(N, "U2"), TypeError, "x has dtype"),
    "time": (np.zeros(N, "M8[s]"), TypeError, "x has dtype"),
    "extended precision": (np.zeros(N, np.longdouble), TypeError, "x has dtype"),
    "masked": (np.ma.MaskedArray(np.zeros(N), mask=np.arange(N) % 2), TypeError, "x must not be a masked array"),
    "unaligned": (unaligned(), ValueError, "x must be aligned"),
    "list": ([0.0] * N, TypeError, "x must be an array, got list"),
    "tuple": ((0.0,) * N, TypeError, "x must be an array, got tuple"),
    "number": (1.5, TypeError, "x must be an array, got float"),
    "NumPy number": (np.float64(1.5), TypeError, "x must be an array, got float64"),
    "None": (None, TypeError, "x must be an array, got NoneType"),
    "str": ("abc", TypeError, "x must be an array, got str"),
    "bytes": (b"abc", TypeError, "x must be an array, got bytes"),
    "strided buffer": (memoryview(np.zeros(2 * N))[::2], ValueError, "x must be C-contiguous"),
}

CALLS: dict[str, tuple[Call, type[Exception], str]] = {
    "unknown op": (lambda c, x: c.all_reduce(x, "summ"), ValueError, "op must be one of"),
    "op that needs a factor": (lambda c, x: c.all_reduce(x, "premul_sum"), ValueError, "pyccl.premul_sum(0.5)"),
    "op of another type": (lambda c, x: c.all_reduce(x, 3), TypeError, "op must be"),
    "bool sum": (lambda c, x: c.all_reduce(x.astype(bool)), TypeError, "op 'sum' is not defined on bool"),
    "integer avg": (lambda c, x: c.all_reduce(x.astype(int), "avg"), TypeError, "op 'avg' is not defined on int64"),
    "complex max": (lambda c, x: c.all_reduce(x.astype("c16"), "max"), TypeError, "op 'max' is not defined on complex128"),
    "float band": (lambda c, x: c.all_reduce(x, "band"), TypeError, "op 'band' is not defined on float64"),
    "read-only out": (lambda c, x: c.all_reduce(x, out=readonly(np.zeros(N))), ValueError, "out is read-only"),
    "read-only in place": (lambda c, x: c.all_reduce(*[readonly(x)], out=x), ValueError, "out is read-only"),
    "out of another size": (lambda c, x: c.all_reduce(x, out=np.zeros(N + 1)), ValueError, "out must have 12 elements"),
    "out of another dtype": (lambda c, x: c.all_reduce(x, out=np.zeros(N, "f4")), TypeError, "out must have dtype float64"),
    "out that is no array": (lambda c, x: c.all_reduce(x, out=[0] * N), TypeError, "out must be an array"),
    "strided out": (lambda c, x: c.all_reduce(x, out=np.zeros(2 * N)[::2]), ValueError, "out must be C-contiguous"),
    "overlap": (overlapping, ValueError, "out overlaps x"),
    "read-only broadcast": (lambda c, x: c.broadcast(readonly(x), root=0), ValueError, "x is read-only"),
    "root too large": (lambda c, x: c.broadcast(x, root=SIZE), ValueError, "root must be in [0, 3), got 3"),
    "negative root": (lambda c, x: c.reduce(x, root=-1), ValueError, "root must be in [0, 3), got -1"),
    "root of broadcast": (lambda c, x: c.broadcast(x, root=0.0), TypeError, "root must be an integer, got float"),
    "root beyond 64 bits": (lambda c, x: c.broadcast(x, root=2**70), ValueError, "root must be in [0, 3)"),
    "root that is text": (lambda c, x: c.reduce(x, root="0"), TypeError, "root must be an integer, got str"),
    "root that is no integer": (lambda c, x: c.gather(x, root=1.5), TypeError, "root must be an integer, got float"),
    "counts too few": (lambda c, x: c.reduce_scatter(x, counts=[N]), ValueError, "counts must have one entry per rank"),
    "negative counts": (lambda c, x: c.reduce_scatter(x, counts=[-1, 1, N]), ValueError, "counts must not be negative"),
    "counts beyond x": (lambda c, x: c.reduce_scatter(x, counts=[N, N, N]), ValueError, "counts must add up to"),
    "counts beyond 2**63": (lambda c, x: c.all_gather(x, counts=[2**63, N, N]), ValueError, "counts"),
    "counts that are no integers": (lambda c, x: c.reduce_scatter(x, counts=[4.5, 4, 3.5]), TypeError, "counts must be integers"),
    "counts that are a number": (lambda c, x: c.reduce_scatter(x, counts=4), TypeError, "counts must be"),
    "counts of another rank": (lambda c, x: c.all_gather(x, counts=[1, 2, 3]), ValueError, "x must have"),
    "not a multiple": (lambda c, x: c.all_to_all(x[:-1]), ValueError, "not a multiple of 3 ranks"),
    "one kind of counts": (lambda c, x: c.all_to_all(x, send_counts=[4, 4, 4]), ValueError, "send_counts and recv_counts"),
    "unknown algorithm": (lambda c, x: c.all_reduce(x, algorithm="rign"), ValueError, "algorithm must be one of"),
    "algorithm of another type": (lambda c, x: c.all_reduce(x, algorithm=["ring"]), TypeError, "algorithm must be"),
    "timeout of zero": (lambda c, x: c.all_reduce(x, timeout=0), ValueError, "timeout must be a positive number"),
    "timeout not a number": (lambda c, x: c.all_reduce(x, timeout=float("nan")), ValueError, "timeout must be a positive"),
    "timeout of another type": (lambda c, x: c.all_reduce(x, timeout="1 s"), (TypeError, ValueError), "timeout must be"),
    "unknown option of async": (lambda c, x: c.all_reduce_async(x, otu=x), TypeError, "otu"),
    "unknown option of plan": (lambda c, x: c.plan("all_reduce", x, otu=x), TypeError, "otu"),
    "misspelt keyword": (lambda c, x: c.all_reduce(x, otu=x), TypeError, "unexpected keyword argument 'otu'"),
    "missing argument": (lambda c, x: c.all_reduce(), TypeError, "missing 1 required positional argument"),
    "missing argument of async": (lambda c, x: c.reduce_async(), TypeError, "missing 1 required positional argument"),
    "too many arguments": (lambda c, x: c.barrier(x), TypeError, "takes 1 positional argument"),
    "argument of another collective": (lambda c, x: c.broadcast(x, out=x), TypeError, "keyword argument 'out'"),
    "argument given twice": (lambda c, x: c.all_reduce(x, "sum", op="sum"), TypeError, "multiple values"),
    "keyword missing in empty": (lambda c, x: c.empty(), TypeError, "missing 1 required positional argument"),
    "keyword missing in split": (lambda c, x: c.split(), TypeError, "missing 1 required positional argument"),
    "unknown collective of plan": (lambda c, x: c.plan("allreduce", x), ValueError, "collective must be one of"),
    "argument of a plan's call": (lambda c, x: c.plan("all_reduce", x)(x), TypeError, "a plan takes no arguments"),
    "plan on what is read-only now": (locked_later, ValueError, "out is read-only"),
    "array with an error of its own": (lambda c, x: c.all_reduce(Broken()), ZeroDivisionError, "division"),
    "color of another type": (lambda c, x: c.split("a"), TypeError, "color must be an integer, got str"),
    "negative color": (lambda c, x: c.split(-1), ValueError, "color must be in [0, 2**31), got -1"),
    "key too large": (lambda c, x: c.split(0, 2**40), ValueError, "key must be in [-2**31, 2**31)"),
    "root that is a bool": (lambda c, x: c.broadcast(x, root=True), TypeError, "root must be an integer, got bool"),
    "more than memory": (lambda c, x: c.empty((1 << 61, 8)), ValueError, "more than any memory holds"),
    "nothing to scatter": (lambda c, x: c.scatter(None, root=c.rank), TypeError, "x must be an array on the root"),
    "nothing to scatter to": (lambda c, x: c.scatter(root=(c.rank + 1) % SIZE), TypeError, "out must be given"),
    "bad shape to register": (lambda c, x: c.empty(-1), ValueError, "shape must not be negative"),
    "bad shape type to register": (lambda c, x: c.empty("a"), (TypeError, ValueError), "shape must be"),
    "bad dtype to register": (lambda c, x: c.empty(4, "f16"), TypeError, "dtype must be one of"),
}  # fmt: skip
CALLS |= {
    f"x is {name}": (lambda c, x, bad=bad: c.all_reduce(bad), kind, text) for name, (bad, kind, text) in INPUTS.items()
}
CALLS |= {
    f"async, x is {name}": (lambda c, x, bad=INPUTS[name][0]: c.all_reduce_async(bad), *INPUTS[name][1:])
    for name in ("strided", "list", "big-endian")
}
CALLS |= {
    f"{kind} of a strided x": (lambda c, x, kind=kind: getattr(c, kind)(x[::2]), ValueError, "x must be C-contiguous")
    for kind in ("reduce", "broadcast", "reduce_scatter", "all_gather", "gather", "scatter", "all_to_all")
}


def others(comm: pyccl.Communicator, x: Any, out: Any, form: str) -> Any:
    if form == "async":
        return comm.all_reduce_async(x, out=out).wait()
    if form == "plan":
        return comm.plan("all_reduce", x, out=out)()
    return comm.all_reduce(x, out=out)


def body(comm: pyccl.Communicator, odd: int, bad: Call) -> list[BaseException | None]:
    errors = []
    for form in ("call", "async", "plan"):
        x, out = np.arange(float(N)), np.full(N, 77.0)
        make = (
            (lambda x=x: bad(comm, x))
            if comm.rank == odd
            else (lambda x=x, out=out, form=form: others(comm, x, out, form))
        )
        errors.append(ranks.outcome(make))
        assert (x == np.arange(N)).all(), "the input was changed"
        assert (out == 77).all(), "the output was written"
    ranks.usable(comm)
    return errors


@pytest.mark.parametrize("name", CALLS)
def test_a_bad_argument_is_named_where_it_is_and_refused_elsewhere(name: str) -> None:
    bad, kind, text = CALLS[name]
    odd = len(name) % SIZE
    for rank, errors in enumerate(ranks.run(SIZE, lambda comm: body(comm, odd, bad), timeout=10)):
        for error in errors:
            if rank == odd:
                assert isinstance(error, kind), repr(error)
                assert text in str(error), error
            else:
                assert isinstance(error, pyccl.PeerAborted), repr(error)
                assert error.rank == odd
                assert text[:100] in error.reason, error
                assert f"rank {odd} refused" in str(error)
                assert "all_reduce" in str(error)


def test_all_ranks_may_be_wrong_at_once() -> None:
    def all_wrong(comm: pyccl.Communicator) -> list[BaseException | None]:
        errors = [ranks.outcome(lambda: comm.all_reduce(np.zeros(3), f"wrong {comm.rank}")) for _ in range(20)]
        ranks.usable(comm)
        return errors

    for rank, errors in enumerate(ranks.run(4, all_wrong)):
        assert all(isinstance(e, ValueError) and f"wrong {rank}" in str(e) for e in errors)


def test_the_reason_is_that_of_this_operation() -> None:
    """A rank that refuses one operation after the other must not disturb those that still read why."""

    def refuse_often(comm: pyccl.Communicator) -> list[str]:
        reasons = []
        for i in range(300):
            error = ranks.outcome(lambda i=i: comm.all_reduce(np.zeros(2), f"op{i}" if comm.rank == 0 else "sum"))
            reasons.append(error.reason if comm.rank else f"got 'op{i}'")  # type: ignore[union-attr]
        return reasons

    for reasons in ranks.run(4, refuse_often):
        assert all(reason.endswith(f"'op{i}'") for i, reason in enumerate(reasons))


def test_a_rank_on_its_own_raises_as_well() -> None:
    def alone(comm: pyccl.Communicator) -> None:
        with pytest.raises(TypeError, match="x must be an array"):
            comm.all_reduce([1.0])
        assert comm.all_reduce(np.ones(2)).tolist() == [1, 1]

    ranks.run(1, alone)


def test_buffers_that_are_no_arrays_are_as_good() -> None:
    def buffers(comm: pyccl.Communicator) -> None:
        data = array.array("d", [comm.rank] * 4)
        comm.all_reduce(data, out=data)
        assert data.tolist() == [3.0] * 4

    ranks.run(3, buffers)


def test_an_explanation_needs_a_whole_number_of_bytes() -> None:
    def ask(comm: pyccl.Communicator) -> list[BaseException | None]:
        return [ranks.outcome(lambda n=n: comm.explain("all_reduce", n)) for n in (1e6, -1, "1 MiB", 8)]

    for fraction, negative, text, good in ranks.run(1, ask):
        assert isinstance(fraction, TypeError)
        assert isinstance(negative, ValueError)
        assert isinstance(text, TypeError)
        assert good is None


def test_memory_that_nobody_has_is_refused_on_every_rank() -> None:
    def ask(comm: pyccl.Communicator) -> BaseException | None:
        error = ranks.outcome(lambda: comm.empty(1 << 55 if comm.rank == 1 else 4))
        ranks.usable(comm)
        return error

    errors = ranks.run(3, ask)
    assert isinstance(errors[1], pyccl.CommError)
    assert all(isinstance(errors[rank], pyccl.PeerAborted) for rank in (0, 2)), errors


def test_a_group_with_a_call_that_failed_is_not_launched_even_if_the_error_was_caught() -> None:
    def attempt(comm: pyccl.Communicator) -> list[BaseException | None]:
        def group() -> None:
            with comm.group():
                if comm.rank == 1:
                    assert isinstance(ranks.outcome(lambda: comm.all_reduce()), TypeError)
                else:
                    comm.all_reduce(np.ones(3))

        error = ranks.outcome(group)
        ranks.usable(comm)
        return error

    for rank, error in enumerate(ranks.run(3, attempt)):
        assert isinstance(error, TypeError if rank == 1 else pyccl.PeerAborted), repr(error)
