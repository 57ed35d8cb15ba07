"""All ranks must mean the same table."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyccl.communicator import Communicator
from pyccl.errors import ConfigError

__all__ = ["agree", "exchange"]


def exchange(comm: Communicator, row: np.ndarray[Any, Any]) -> Any:
    """Return everybody's row."""
    rows: np.ndarray[Any, Any] = comm.all_gather(row)
    return rows.reshape(comm.size, -1)


def agree(comm: Communicator, what: str, said: str) -> None:
    """Return if all ranks say the same.

    Raises
    ------
    ConfigError
        On every rank, with both sides.
    """
    data = np.frombuffer(said.encode(), np.uint8)
    counts = [int(n) for n in exchange(comm, np.array([data.size], np.int64))[:, 0]]
    words = bytes(comm.all_gather(data, counts=counts))
    ends = np.cumsum(counts).tolist()
    texts = [words[end - count : end].decode() for end, count in zip(ends, counts, strict=True)]
    other = next((rank for rank, text in enumerate(texts) if text != texts[0]), None)
    if other is not None:
        raise ConfigError(f"{what} differs between ranks: rank 0 says {texts[0]}; rank {other} says {texts[other]}")
