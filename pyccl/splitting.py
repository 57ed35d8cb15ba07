"""Agreement on the arguments of `Communicator.split` before anything is made."""

from __future__ import annotations

import operator

from pyccl.bootstrap import Bootstrap
from pyccl.errors import PeerAborted

__all__ = ["agree_to_split"]


def agree_to_split(bootstrap: Bootstrap, color: int | None, key: int) -> tuple[int | None, int]:
    """Return the arguments as plain integers once those of all ranks are known to be good. Collective.

    Raises
    ------
    TypeError, ValueError
        For a bad argument of this rank.
    PeerAborted
        For one of another rank.
    """
    error: Exception | None = None
    checked: tuple[int | None, int] = (None, 0)
    try:
        checked = _check(color, key)
    except (TypeError, ValueError) as bad:
        error = bad
    reasons = bootstrap.allgather(b"" if error is None else f"{type(error).__name__}: {error}".encode())
    if error is not None:
        raise error
    for rank, reason in enumerate(reasons):
        if reason:
            raise PeerAborted(rank, reason.decode(), f"rank {rank} refused to take part in split: {reason.decode()}")
    return checked


def _check(color: int | None, key: int) -> tuple[int | None, int]:
    number = None if color is None else operator.index(color)
    if number is not None and not 0 <= number < 2**31:
        raise ValueError(f"color must be in [0, 2**31) or None, got {number}")
    order = operator.index(key)
    if not -(2**31) <= order < 2**31:
        raise ValueError(f"key must be in [-2**31, 2**31), got {order}")
    return number, order
