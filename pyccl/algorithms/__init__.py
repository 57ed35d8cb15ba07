"""The algorithms; importing this package registers pyccl's own."""

from pyccl.algorithms import direct, hierarchical, pairwise, recursive, ring, tree  # noqa: F401, registers them
from pyccl.algorithms.registry import (
    Algorithm,
    algorithm,
    algorithms,
    build,
    get_algorithm,
    known,
    register_algorithm,
    unregister_algorithm,
)

__all__ = [
    "Algorithm",
    "algorithm",
    "algorithms",
    "build",
    "get_algorithm",
    "known",
    "register_algorithm",
    "unregister_algorithm",
]
