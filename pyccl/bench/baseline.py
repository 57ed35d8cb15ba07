"""The launcher's own MPI doing the same thing on the same kind of arrays, where it has an equivalent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .cases import REDUCING, ROOT

if TYPE_CHECKING:
    from mpi4py import MPI

    from .cases import Case
    from .interface import Array, Call

_MPI_NAMES = {
    "bool": "C_BOOL", "uint8": "UINT8_T", "uint16": "UINT16_T", "uint32": "UINT32_T", "uint64": "UINT64_T",
    "int8": "INT8_T", "int16": "INT16_T", "int32": "INT32_T", "int64": "INT64_T",
    "float16": "FLOAT16_T", "bfloat16": "BFLOAT16_T", "float32": "FLOAT", "float64": "DOUBLE",
    "complex64": "C_FLOAT_COMPLEX", "complex128": "C_DOUBLE_COMPLEX",
}  # fmt: skip
_ARITHMETIC = {"sum": "SUM", "prod": "PROD", "min": "MIN", "max": "MAX"}
_BITWISE = {"band": "BAND", "bor": "BOR", "bxor": "BXOR"}
_OPS_OF_KIND = {
    "b": {"band": "LAND", "bor": "LOR", "bxor": "LXOR", "prod": "LAND", "min": "LAND", "max": "LOR"},
    "c": {"sum": "SUM", "prod": "PROD"},
    "f": _ARITHMETIC,
    "i": _ARITHMETIC | _BITWISE,
    "u": _ARITHMETIC | _BITWISE,
}


def library() -> str:
    """Return the name and version of the MPI library in use, for example `MPICH 5.0.2`."""
    from mpi4py import MPI

    first = MPI.Get_library_version().replace("\x00", "").splitlines()[0]
    if first.startswith("MPICH"):
        return "MPICH " + first.split()[-1]
    return first.split(",")[0].replace(" v", " ").removesuffix(" package:").strip()


def make_baseline(mpi: MPI.Intracomm, case: Case, x: Array, out: Array) -> Call | None:
    """Return a call of MPI's own collective on `x` and `out`, or None where MPI has no equivalent."""
    from mpi4py import MPI

    datatype = getattr(MPI, _MPI_NAMES[case.dtype], MPI.DATATYPE_NULL)
    if case.collective in REDUCING:
        kind = "f" if case.dtype == "bfloat16" else x.dtype.kind
        name = _OPS_OF_KIND[kind].get(case.op)
        if name is None or datatype == MPI.DATATYPE_NULL:
            return None
        return _reduction(mpi, case, [x, datatype], [out, datatype], getattr(MPI, name))
    if datatype == MPI.DATATYPE_NULL:  # moving bytes needs no arithmetic
        datatype = MPI.UINT16_T
    return _movement(mpi, case, [x, datatype], [out, datatype])


def _reduction(mpi: MPI.Intracomm, case: Case, x: Any, out: Any, op: MPI.Op) -> Call:
    from mpi4py import MPI

    if case.collective == "all_reduce":
        source = MPI.IN_PLACE if case.in_place else x
        return lambda: mpi.Allreduce(source, out, op)
    if case.collective == "reduce":
        target = out if mpi.rank == ROOT else None
        return lambda: mpi.Reduce(x, target, op, root=ROOT)
    return lambda: mpi.Reduce_scatter_block(x, out, op)


def _movement(mpi: MPI.Intracomm, case: Case, x: Any, out: Any) -> Call:
    at_root = mpi.rank == ROOT
    p, r = mpi.size, mpi.rank
    calls: dict[str, Call] = {
        "all_gather": lambda: mpi.Allgather(x, out),
        "broadcast": lambda: mpi.Bcast(x, root=ROOT),
        "gather": lambda: mpi.Gather(x, out if at_root else None, root=ROOT),
        "scatter": lambda: mpi.Scatter(x if at_root else None, out, root=ROOT),
        "all_to_all": lambda: mpi.Alltoall(x, out),
        "sendrecv": lambda: mpi.Sendrecv(x, (r + 1) % p, recvbuf=out, source=(r - 1) % p),
        "barrier": mpi.Barrier,
    }
    return calls[case.collective]
