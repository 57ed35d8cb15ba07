"""What a parameter server holds: its tables, what has been counted, snapshots."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from pyccl.server import snapshot
from pyccl.server.lifetime import Lifetime
from pyccl.server.placement import Placement
from pyccl.server.tables import DenseTable, SparseTable
from pyccl.server.view import View, view_of

__all__ = ["Holdings"]


class Holdings(Lifetime):
    """What can be asked of a parameter server beside its parameters."""

    _servers: tuple[int, ...]
    _placement: Placement
    _tables: dict[str, DenseTable | SparseTable]
    _numbers: dict[str, int]
    _bounds: dict[str, list[int]]

    def _table(self, name: str) -> tuple[int, DenseTable | SparseTable]:
        self._check_open()
        table = self._tables.get(name)
        if table is None:
            known = ", ".join(map(repr, self._tables)) or "none"
            raise ValueError(f"there is no table {name!r}; there are {known}")
        return self._numbers[name], table

    def staleness_histogram(self, name: str | None = None) -> npt.NDArray[np.int64]:
        """Return how many of this worker's gradients had which staleness, counted at every shard.

        Parameters
        ----------
        name : str, optional
            Of a table; default: all of them together.

        Returns
        -------
        ndarray of int64
            Entry s counts gradients before which s versions were made since the one that they were computed on.
        """
        self._check_open()
        numbers = range(len(self._tables)) if name is None else [self._table(name)[0]]
        counts = [self._endpoint.seen(number)[0] for number in numbers]
        total = np.zeros(max(map(len, counts), default=0), np.int64)
        for one in counts:
            total[: len(one)] += one
        return total

    def stats(self) -> list[dict[str, Any]]:
        """Return what every server has counted so far.

        Returns
        -------
        list of dict
            Per server: its ``rank``, whether it is ``alive``, ``requests``, their ``bytes``, gradients ``applied`` and
            ``dropped``, the sum of their ``staleness``, bytes ``queued`` now, ``busy`` seconds, records ``forwarded``
            to replicas, ``duplicates`` after a failover, ``failovers`` seen, seconds of the last ``recovery``,
            shards ``adopted`` from others, the ``term`` of the view that it goes by, and requests that it has sent back
            because another server owns their shard (``moved``).
        """
        self._check_open()
        return [
            {"rank": rank, "alive": self._endpoint.lives(rank), **self._endpoint.counters(i)}
            for i, rank in enumerate(self._servers)
        ]

    def traffic(self) -> dict[str, int]:
        """Return the bytes that this rank, worker and server, has ``sent`` to other nodes so far.

        ``spared`` are bytes of row ids that had been sent before, and travelled as a number.
        """
        self._check_open()
        return dict(zip(("sent", "spared"), self._endpoint.carried(), strict=True))

    def view(self) -> View:
        """Return who lives, who leads, and who has which shard, with the number of this membership."""
        self._check_open()
        return view_of(self._endpoint, self._servers)

    def balance(self) -> npt.NDArray[np.int64]:
        """Return how many elements of dense tables each shard has."""
        return np.array(self._placement.loads)

    def save(self, path: str | PathLike[str]) -> None:
        """Write all tables to a new folder, by one worker. See `pyccl.server.snapshot`."""
        self._check_open()
        snapshot.save(self._endpoint, self._tables, self._bounds, path)

    def load(self, path: str | PathLike[str]) -> None:
        """Overwrite all tables with those of a folder that `save` has written, by one worker."""
        self._check_open()
        snapshot.load(self._endpoint, self._tables, self._bounds, path, self._timeout)
