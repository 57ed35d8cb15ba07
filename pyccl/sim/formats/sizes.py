"""Other tools count a collective by what one rank brings; pyccl by its large side (`pyccl.collectives`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pyccl.errors import ConfigError
from pyccl.sim.recorder import MAX_NBYTES, compact
from pyccl.sim.trace import COLLECTIVE_NAMES, Columns, Kind

__all__ = ["large_side", "own_side"]

GATHERING = tuple(COLLECTIVE_NAMES.index(name) for name in ("all_gather", "gather"))


def own_side(collective: str, nbytes: int, members: int) -> int:
    """Return what a rank brings to a collective of `nbytes`, the remainder dropped."""
    return nbytes // members if COLLECTIVE_NAMES.index(collective) in GATHERING else nbytes


def large_side(columns: Columns, members: Sequence[int], path: str) -> Columns:
    """Return the columns with the bytes of gathering collectives multiplied by their group's size.

    Raises
    ------
    ConfigError
        If that is more than `MAX_NBYTES`.
    """
    gathering = (columns.kind == Kind.COLL) & np.isin(columns.collective, GATHERING)
    if not gathering.any():
        return columns
    nbytes = np.array(columns.nbytes)
    factors = np.array(members, np.int64)[columns.group[gathering]]
    if np.any(nbytes[gathering] > MAX_NBYTES // factors):
        raise ConfigError(f"{path}: a gathering collective has more than {MAX_NBYTES} bytes over all its ranks")
    nbytes[gathering] *= factors
    return replace(columns, nbytes=compact(nbytes))
