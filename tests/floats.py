"""float32 arrays for tests of kernels: at any address, between guards, compared by their bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyccl import _core

ISAS = _core.kernels_isas()
GUARD = np.float32(1.25)


def guarded(values: NDArray[np.float32], offset: int = 0) -> NDArray[np.float32]:
    """Return a copy with a guard before it and one behind it, `offset` bytes after a border of 128 bytes."""
    memory = np.empty(values.nbytes + 8 + 256, np.uint8)
    start = -memory.ctypes.data % 128 + offset
    copy = memory[start : start + values.nbytes + 8].view(np.float32)
    copy[0] = copy[-1] = GUARD
    copy[1:-1] = values
    return copy


def untouched(copy: NDArray[np.float32]) -> bool:
    """Say whether the guards are as they were."""
    return bool(copy[0] == GUARD and copy[-1] == GUARD)


def same_bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Say whether two arrays have the same bits; one NaN is as good as another."""
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    bits = f"u{a.itemsize}"
    return bool(((a.view(bits) == b.view(bits)) | (np.isnan(a) & np.isnan(b))).all())
