"""What pyccl._core has for sparse rows: a part of its stubs, no module of its own."""

import numpy as np
import numpy.typing as npt

from pyccl._core import Optimizer
from pyccl._core_simulation import _Object

_Ids = npt.NDArray[np.int64]
_Rows = npt.NDArray[np.float32]

# Ids are from 0 on; a negative one is a ValueError with its position, and nothing is done.

class SparseInitializer(_Object):
    def __init__(self, kind: int, a: float, b: float, seed: int) -> None: ...
    def rows(self, table: int, ids: _Ids, dim: int) -> _Rows: ...

class SparseTable(_Object):
    def __init__(
        self,
        dim: int,
        table: int,
        optimizer: Optimizer,
        initializer: SparseInitializer,
        after: int = 1,  # admission: a row is made at the id's push of that number
        probability: float = 1.0,  # that a push makes the row
        counters: int = 1 << 22,  # of the sketch, where `after` is above 1
        shared: bool = False,  # ids without a row push to and pull from one row
        max_rows: int = 0,  # 0: no limit
        lfu: bool = False,  # what goes when there are too many: least recently, or least often updated
        epochs: int = 0,  # rows untouched for so many clocks go
    ) -> None: ...
    def push(self, ids: _Ids, rows: _Rows, scale: float = 1.0) -> None: ...  # unique ids
    def pull(self, ids: _Ids, out: _Rows | None = None) -> _Rows: ...
    def versions(self, ids: _Ids) -> _Ids: ...
    def tick(self) -> None: ...
    def evict(self) -> int: ...
    # ids, rows with state, versions, touches, where to go on (-1: that was all)
    def export_rows(self, begin: int, limit: int) -> tuple[_Ids, _Rows, _Ids, _Ids, int]: ...
    def import_rows(self, ids: _Ids, values: _Rows, versions: _Ids, touches: _Ids) -> None: ...
    def export_state(self) -> npt.NDArray[np.uint8]: ...
    def import_state(self, state: npt.NDArray[np.uint8]) -> None: ...  # before any rows
    def counts(self) -> dict[str, int]: ...  # rows, bytes, created, evicted, refused
    @property
    def time(self) -> int: ...  # pushes
    @property
    def clock(self) -> int: ...

def sparse_sum(ids: _Ids, rows: _Rows) -> tuple[_Ids, _Rows, _Ids]: ...  # unique ids, their sums, inverse
def sparse_partition(ids: _Ids, shards: int) -> tuple[_Ids, _Ids]: ...  # starts, positions
def sparse_shard_of(ids: _Ids, shards: int) -> npt.NDArray[np.int32]: ...
