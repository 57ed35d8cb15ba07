"""Real data through a simulated collective: the runtime's programs and kernels, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyccl import _core
from pyccl.algorithms import build
from pyccl.collectives import collective as row_of
from pyccl.sim.cluster import Cluster

Array = NDArray[Any]


def payload_counts(collective: str, payload: Sequence[Array], size: int, root: int, nchunks: int) -> tuple[int, ...]:
    """Return the elements of each chunk.

    Raises
    ------
    ValueError
        If there is not one array per rank, or their lengths or dtypes do not fit each other.
    """
    if len(payload) != size:
        raise ValueError(f"payload must be one array per rank, got {len(payload)} for {size} ranks")
    if len({x.dtype for x in payload}) > 1 or any(x.ndim != 1 for x in payload):
        raise ValueError("payload must be arrays of one dimension and one dtype")
    row, lengths = row_of(collective), [len(x) for x in payload]
    if collective in ("all_gather", "gather"):
        return tuple(lengths)
    holders = [length for rank, length in enumerate(lengths) if row.initial(rank, size, root, nchunks)]
    if len(set(holders)) > 1:
        raise ValueError(f"payload must be equally long on every rank of {collective}, got {sorted(set(holders))}")
    if collective == "all_to_all" and holders[0] % size:
        raise ValueError(f"all_to_all splits each payload in {size} equal blocks, got {holders[0]} elements")
    return row.chunk_counts(holders[0], size, nchunks)


def carry(
    cluster: Cluster, collective: str, algorithm: str, payload: Sequence[Array], op: str, root: int
) -> list[Array]:
    """Return what each rank holds after the collective, bit for bit what the runtime's ranks would.

    Raises
    ------
    TypeError
        If the payload has a dtype that no collective moves.
    ValueError
        If the payload does not fit the collective, or the operation is not defined on its dtype.
    """
    size = cluster.size
    schedule = build(collective, algorithm, size, root, cluster.host_of.tolist())
    counts = payload_counts(collective, payload, size, root, schedule.nchunks)
    codes = _core.kernels_codes()["ops"]
    if op not in codes or op in ("user", "premul_sum"):
        raise ValueError(f"op must be one of {', '.join(sorted(set(codes) - {'user', 'premul_sum'}))}, got {op!r}")
    dtype = _core.kernels_codes()["dtypes"].get(payload[root].dtype.name)
    if dtype is None:
        raise TypeError(f"payload has {payload[root].dtype}, which no collective moves")
    if schedule.row.reduces and not _core.kernels_supports(codes[op], dtype):
        raise ValueError(f"{op} is not defined on {payload[root].dtype}")
    kind, divisor = (codes["sum"], size) if op == "avg" else (codes[op], 1)
    nothing = payload[root][:0]
    inputs = [np.ascontiguousarray(x if schedule.initial(rank) else nothing) for rank, x in enumerate(payload)]
    outputs = [np.empty(sum(counts[c] for c in schedule.final(rank)), nothing.dtype) for rank in range(size)]
    _core.sim_payload(
        schedule.tables, schedule.row.code, size, root, schedule.nchunks, schedule.nodes, kind, divisor, counts, inputs,
        outputs,
    )  # fmt: skip
    return outputs
