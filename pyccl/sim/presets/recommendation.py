"""Recommendation: dense layers that every worker has, and tables that are spread over them."""

from __future__ import annotations

from itertools import pairwise

from pyccl.sim.embedding import Embedding
from pyccl.sim.presets.architecture import Architecture, Row

_BOTTOM, _TOP, _DIM = (13, 512, 256, 128), (479, 1024, 1024, 512, 256, 1), 128
_ROWS = (
    40000000, 39060, 17295, 7424, 20265, 3, 7122, 1543, 63, 40000000, 3067956, 405282, 10, 2209, 11938, 155, 4, 976, 14,
    40000000, 40000000, 40000000, 590152, 12973, 108, 36,
)  # fmt: skip
"""Rows of each table: the categories of Criteo Terabyte, at most 40 million."""


def dlrm(sequence: int | None = None) -> Architecture:
    """Naumov et al. 2019, arXiv:1906.00091, in the shape of MLPerf Training on Criteo Terabyte, one id a table."""
    rows = []
    for name, widths in (("bottom", _BOTTOM), ("top", _TOP)):
        for index, (inputs, outputs) in enumerate(pairwise(widths)):
            work, parameters = 2.0 * inputs * outputs, (inputs + 1) * outputs
            rows.append(Row(f"{name} {index}", work, parameters, outputs, inputs))
    tables = tuple(Embedding(rows=count, dim=_DIM) for count in _ROWS)
    return Architecture(tuple(rows), batch=2048, optimizer="sgd", embeddings=tables, join=len(_BOTTOM) - 1)
