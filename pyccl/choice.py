"""Which algorithm a call takes: the thresholds that the core looks up, and what a caller names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyccl import _core
from pyccl.algorithms import algorithms, get_algorithm
from pyccl.collectives import COLLECTIVES
from pyccl.errors import ConfigError
from pyccl.ops import Op
from pyccl.tuning import Rows, Tuning

__all__ = ["algorithm_code", "check_overrides", "hand_thresholds"]

# What replaces an algorithm that adds in an order of its own: up to so many bytes the first, then the second.
_SHORT = 32 << 10
_LINE = 64
_IN_RANK_ORDER = {
    "all_reduce": ("one_shot", "two_shot"),
    "reduce_scatter": ("direct", "direct"),
    "reduce": ("direct", "scatter_reduce"),
}
# The algorithms of one round: what an agreement between nodes can carry along.
_CARRIED = {
    "all_reduce": "one_shot",
    "reduce_scatter": "direct",
    "all_gather": "direct",
    "broadcast": "direct",
    "reduce": "direct",
    "gather": "direct",
    "scatter": "direct",
    "all_to_all": "direct",
    "barrier": "one_shot",
}


def check_overrides(overrides: Mapping[str, str], *, deterministic: bool) -> None:
    """Raise ConfigError if ``PYCCL_ALGORITHM`` names what does not exist, or adds in another order than it must."""
    for collective, name in overrides.items():
        try:
            get_algorithm(collective, name)
        except ValueError as error:
            raise ConfigError(f"PYCCL_ALGORITHM: {error}") from None
        if deterministic and not keeps_order(collective, name):
            raise ConfigError(
                f"PYCCL_ALGORITHM names {name} for {collective}, which does not add in rank order, as "
                f"deterministic=True asks"
            )


def hand_thresholds(
    core: _core.Communicator,
    tuning: Tuning,
    overrides: Mapping[str, str],
    nodes: Sequence[int],
    *,
    deterministic: bool,
) -> None:
    """Hand the thresholds to the core, with the algorithms that ``PYCCL_ALGORITHM`` names in their place."""
    private = tuning.private(len(nodes), several_nodes=len(set(nodes)) > 1)
    for name, row in COLLECTIVES.items():
        for registered, table in ((False, private), (True, tuning.registered)):
            rows = table[name]
            if len(set(nodes)) > 1 and not registered:
                rows = carried(name, len(nodes), rows)
            if name in overrides:
                rows = ((2**62, overrides[name]),)
            elif deterministic:
                rows = in_rank_order(name, rows)
            codes = []
            for limit, algorithm in rows:
                get_algorithm(name, algorithm)
                codes.append((limit, core.algorithm_index(algorithm)))
            core.set_choices(row.code, registered, codes)


def carried(collective: str, size: int, rows: Rows) -> Rows:
    """Return the thresholds with, in front, what the agreement between nodes carries along.

    Every rank then has a block of at most ``_core.carried_bytes() / size`` bytes there: the vector, its own chunk of
    it, or one cache line for each rank.

    Examples
    --------
    >>> carried("all_reduce", 8, ((1024, "ring"), (2**62, "hierarchical")))
    ((512, 'one_shot'), (1024, 'ring'), (4611686018427387904, 'hierarchical'))
    """
    block = _core.carried_bytes() // size
    if collective in ("all_gather", "gather"):
        limit = block * size
    elif collective in ("reduce_scatter", "scatter", "all_to_all"):
        limit = _LINE * size if block >= _LINE * size else 0
    else:
        limit = block
    return ((limit, _CARRIED[collective]), *rows)


def keeps_order(collective: str, name: str) -> bool:
    """Return whether every result is one pass in rank order; without a reduction there is no order to keep."""
    return collective not in _IN_RANK_ORDER or get_algorithm(collective, name).order == "rank"


def in_rank_order(collective: str, rows: Rows) -> Rows:
    """Return the thresholds with algorithms in place that combine all contributions in one pass in rank order.

    Examples
    --------
    >>> in_rank_order("all_reduce", ((1024, "one_shot"), (2**62, "ring")))
    ((1024, 'one_shot'), (32768, 'one_shot'), (4611686018427387904, 'two_shot'))
    """
    kept: list[tuple[int, str]] = []
    for limit, name in rows:
        if keeps_order(collective, name):
            kept.append((limit, name))
            continue
        short, long = _IN_RANK_ORDER[collective]
        if (not kept or kept[-1][0] < _SHORT) and limit > _SHORT:
            kept.append((_SHORT, short))
        kept.append((limit, short if limit <= _SHORT else long))
    return tuple(kept)


def algorithm_code(
    core: _core.Communicator, size: int, collective: str, name: str, op: Op | None, nbytes: int, *, ordered: bool
) -> int:
    """Return the core's number of an algorithm, -1 for "auto" where the table's choice will do.

    Parameters
    ----------
    ordered : bool
        Whether contributions must be combined in one pass in rank order.
    """
    if not isinstance(name, str):
        raise TypeError(f"algorithm must be a name, got {type(name).__name__}")
    fixed = op is not None and not op.commutative
    if name == "auto":
        if not (fixed or ordered):
            return -1
        chosen = core.algorithm_name(core.choose(COLLECTIVES[collective].code, False, nbytes))
        if ordered:
            return core.algorithm_index(_smallest(in_rank_order(collective, ((2**62, chosen),)), nbytes))
        keeps = [n for n in algorithms(collective, size) if not get_algorithm(collective, n).commutative_only]
        return core.algorithm_index(chosen if chosen in keeps else keeps[0])
    entry = get_algorithm(collective, name)
    if not entry.serves(size):
        raise ValueError(f"algorithm {name!r} of {collective} does not serve {size} ranks")
    if fixed and entry.commutative_only:
        raise ValueError(f"algorithm {name!r} needs a commutative operation, and {op.name!r} is not")  # type: ignore[union-attr]
    if ordered and not keeps_order(collective, name):
        raise ValueError(f"algorithm {name!r} does not add in rank order, as deterministic=True asks")
    return core.algorithm_index(name)


def _smallest(rows: Rows, nbytes: int) -> str:
    return next(name for limit, name in rows if nbytes <= limit)
