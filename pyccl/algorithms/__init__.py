"""The algorithms; importing this package registers pyccl's own."""

from pyccl.algorithms import direct as _direct  # noqa: F401
from pyccl.algorithms import ring as _ring  # noqa: F401
from pyccl.algorithms.registry import (
    Algorithm,
    algorithm,
    algorithms,
    build,
    get_algorithm,
    register_algorithm,
    unregister_algorithm,
)

__all__ = [
    "Algorithm",
    "algorithm",
    "algorithms",
    "build",
    "get_algorithm",
    "register_algorithm",
    "unregister_algorithm",
]
