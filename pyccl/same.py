"""Do all ranks hold the same array? Hashes of its blocks are compared, so that a difference can be placed."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from pyccl.arrays import NumpyArray
from pyccl.collectives import chunk_range
from pyccl.errors import MismatchError

__all__ = ["compare", "digests"]

_BLOCKS = 16
_BYTES = 16  # of a hash: two different arrays in 2**64 would be taken for the same


def digests(x: NumpyArray) -> npt.NDArray[np.uint8]:
    """Return the number of elements, then a hash of dtype and shape and one of every block.

    Returns
    -------
    ndarray of uint8, shape (8 + 17 * 16,)
    """
    data = x.reshape(-1).view(np.uint8)
    parts = [x.size.to_bytes(8, "little"), _hash(f"{x.dtype.name} {x.shape}".encode())]
    for block in range(_BLOCKS):
        first, last = chunk_range(x.size, _BLOCKS, block)
        parts.append(_hash(data[first * x.itemsize : last * x.itemsize].data))
    return np.frombuffer(b"".join(parts), np.uint8)


def _hash(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=_BYTES).digest()


def compare(rows: npt.NDArray[np.uint8]) -> None:
    """Raise MismatchError unless the digests of all ranks are the same.

    Parameters
    ----------
    rows : ndarray of uint8, shape (size, 8 + 17 * 16)
    """
    keys = [row.tobytes() for row in rows]
    holders: dict[bytes, list[int]] = {}
    for rank, key in enumerate(keys):
        holders.setdefault(key, []).append(rank)
    if len(holders) == 1:
        return
    usual = max(holders, key=lambda key: len(holders[key]))
    odd = [rank for rank, key in enumerate(keys) if key != usual]
    if 2 * len(odd) < len(keys):
        who = f"{_named(odd)} differ{'s' if len(odd) == 1 else ''} from the other {len(keys) - len(odd)}"
    else:
        who = f"{len(holders)} arrays, held by {'; '.join(_named(ranks) for ranks in holders.values())}"
    where = _first_difference(usual, [keys[rank] for rank in odd])
    raise MismatchError(f"the array is not the same everywhere: {who}{where}")


def _named(ranks: list[int]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"


def _first_difference(usual: bytes, others: list[bytes]) -> str:
    head = 8 + _BYTES
    if any(other[:head] != usual[:head] for other in others):
        return ", in dtype or shape"
    count = int.from_bytes(usual[:8], "little")
    for block in range(_BLOCKS):
        part = slice(head + block * _BYTES, head + (block + 1) * _BYTES)
        if any(other[part] != usual[part] for other in others):
            first, last = chunk_range(count, _BLOCKS, block)
            return f", first in elements {first} to {last - 1} of {count}"
    raise AssertionError("equal digests were taken for different ones")
