"""Which algorithm a call takes: the thresholds that the core looks up, and what a caller names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyccl import _core, algorithms
from pyccl.collectives import COLLECTIVES
from pyccl.ops import Op
from pyccl.tuning import Tuning

__all__ = ["algorithm_code", "hand_thresholds"]


def hand_thresholds(
    core: _core.Communicator, tuning: Tuning, overrides: Mapping[str, str], nodes: Sequence[int]
) -> None:
    """Hand the thresholds to the core, with the algorithms that ``PYCCL_ALGORITHM`` names in their place."""
    private = tuning.private(len(nodes), several_nodes=len(set(nodes)) > 1)
    for name, row in COLLECTIVES.items():
        for registered, table in ((False, private), (True, tuning.registered)):
            override = overrides.get(name)
            rows = ((2**62, override),) if override else table[name]
            codes = []
            for limit, algorithm in rows:
                algorithms.get_algorithm(name, algorithm)
                codes.append((limit, core.algorithm_index(algorithm)))
            core.set_choices(row.code, registered, codes)


def algorithm_code(core: _core.Communicator, size: int, collective: str, name: str, op: Op | None, nbytes: int) -> int:
    """Return the core's number of an algorithm, -1 for "auto" where the table's choice will do."""
    if not isinstance(name, str):
        raise TypeError(f"algorithm must be a name, got {type(name).__name__}")
    ordered = op is not None and not op.commutative
    if name == "auto":
        if not ordered:
            return -1
        chosen = core.algorithm_name(core.choose(COLLECTIVES[collective].code, False, nbytes))
        keeps = [
            n
            for n in algorithms.algorithms(collective, size)
            if not algorithms.get_algorithm(collective, n).commutative_only
        ]
        return core.algorithm_index(chosen if chosen in keeps else keeps[0])
    entry = algorithms.get_algorithm(collective, name)
    if not entry.serves(size):
        raise ValueError(f"algorithm {name!r} of {collective} does not serve {size} ranks")
    if ordered and entry.commutative_only:
        raise ValueError(f"algorithm {name!r} needs a commutative operation, and {op.name!r} is not")  # type: ignore[union-attr]
    return core.algorithm_index(name)
