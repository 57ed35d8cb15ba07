"""What pyccl._core has for the simulator: a part of its stubs, no module of its own."""

from collections.abc import Sequence
from typing import Any, NoReturn, type_check_only

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[Any]

@type_check_only
class _Meta(type): ...

@type_check_only
class _Object(metaclass=_Meta):
    def __init__(
        self, *args: NoReturn, **kwargs: NoReturn
    ) -> None: ...  # made by the core alone, unless a class says how

# --- consistency rules

class PolicyVerdict(_Object):
    @property
    def fate(self) -> str: ...
    @property
    def staleness(self) -> int: ...
    @property
    def weight(self) -> float: ...

class PolicyRule(_Object):
    @staticmethod
    def quorum(workers: int, count: int, labelled: bool, waits: bool, weighting: str) -> PolicyRule: ...
    @staticmethod
    def free(workers: int, max_staleness: int | None, waits: bool, weighting: str) -> PolicyRule: ...
    @staticmethod
    def clocks(workers: int, staleness: int) -> PolicyRule: ...
    def request(self, worker: int) -> bool: ...
    def begin(self, worker: int) -> int: ...
    def push(self, worker: int) -> PolicyVerdict: ...
    def leave(self, worker: int) -> None: ...
    def outdated(self, worker: int) -> bool: ...
    def clock(self, worker: int) -> int: ...
    @property
    def version(self) -> int: ...
    @property
    def workers(self) -> int: ...
    @property
    def released(self) -> list[int]: ...

# --- simulation

class SimPlay(_Object):
    def __init__(self, tables: Sequence[npt.NDArray[np.int32]], size: int, nchunks: int, rotates: bool) -> None: ...
    @property
    def rotates(self) -> bool: ...
    @property
    def sources(self) -> npt.NDArray[np.int32]: ...
    @property
    def destinations(self) -> npt.NDArray[np.int32]: ...
    def run(
        self,
        latency: npt.NDArray[np.float64],
        ends: npt.NDArray[np.int64],
        links: npt.NDArray[np.int64],
        capacity: npt.NDArray[np.float64],
        chunk_bytes: npt.NDArray[np.float64],
        starts: npt.NDArray[np.float64],
        gamma: float,
        folded: bool,
        most_events: int,
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], int, int]: ...
    def traffic(self, chunk_bytes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]: ...

class SimNetwork(_Object):
    def __init__(self, capacity: Sequence[float], flows: int) -> None: ...
    def start(self, flow: int, links: Sequence[int], nbytes: float, limit: float, now: float) -> None: ...
    def stop(self, flow: int) -> None: ...
    def settle(self, now: float) -> dict[int, float]: ...
    def rate(self, flow: int) -> float: ...

class SimDistribution(_Object):
    def __init__(
        self, kind: int, a: float = ..., b: float = ..., c: float = ..., table: Sequence[float] = ...
    ) -> None: ...
    def quantile(self, u: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]: ...

def sim_philox(counter: Sequence[int], key: int) -> list[int]: ...
def sim_uniform(seed: int, who: npt.NDArray[np.uint32], iteration: int, stream: int) -> npt.NDArray[np.float64]: ...
def sim_draw(
    compute: SimDistribution,
    factors: Sequence[float],
    slow: float,
    enter: float,
    leave: float,
    seed: int,
    workers: int,
    first: int,
    count: int,
) -> npt.NDArray[np.float64]: ...

class SimSeconds(_Object):
    @staticmethod
    def table(seconds: npt.NDArray[np.float64]) -> SimSeconds: ...
    @staticmethod
    def drawn(
        compute: SimDistribution,
        factors: Sequence[float],
        slow: float,
        enter: float,
        leave: float,
        seed: int,
        workers: int,
    ) -> SimSeconds: ...

class SimSampling(_Object):
    def __init__(
        self,
        clients: int,
        slots: int,
        cohorts: bool,
        seed: int,
        retry: float,
        mean: float,
        swing: float,
        period: float,
    ) -> None: ...

class SimWires(_Object):
    @staticmethod
    def uniform(
        slots: int, push: float, pull: float, up: float, down: float, limit: float, latency: float, apply: float
    ) -> SimWires: ...

class SimGroupWires(SimWires):
    def __init__(
        self,
        slots: int,
        servers: int,
        capacity: npt.NDArray[np.float64],
        latency: npt.NDArray[np.float64],
        up: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
        down: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
        push: float,
        pull: float,
        apply: float,
    ) -> None: ...
    @property
    def groups(self) -> int: ...

class SimFlowWires(SimWires):
    def __init__(
        self,
        slots: int,
        servers: int,
        capacity: npt.NDArray[np.float64],
        latency: npt.NDArray[np.float64],
        up: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
        down: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
        across: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
        push: float,
        pull: float,
        state: float,
        apply: float,
        replicas: int,
        dead: int,
        dies: float,
        recovery: float,
    ) -> None: ...
    @property
    def link_bytes(self) -> npt.NDArray[np.float64]: ...

def sim_train(
    rule: PolicyRule,
    wires: SimWires,
    seconds: SimSeconds,
    sampling: SimSampling | None,
    starts: npt.NDArray[np.float64],
    local_steps: int,
    rounds: int,
    versions: int,
    horizon: float,
    trace_rounds: int,
    most_rows: int,
    most_events: int,
) -> dict[str, Any]: ...
def sim_payload(
    tables: Sequence[npt.NDArray[np.int32]],
    collective: int,
    size: int,
    root: int,
    nchunks: int,
    nodes: Sequence[int],
    op: int,
    divisor: int,
    counts: Sequence[int],
    inputs: Sequence[_Array],
    outputs: Sequence[_Array],
) -> bool: ...
def sim_replay(
    columns: Sequence[object],
    groups: Sequence[tuple[int, int, Sequence[int]]],
    size: int,
    ways: tuple[npt.NDArray[Any], ...],
    calls: Sequence[tuple[SimPlay | None, Sequence[float], float]],
    classes: Sequence[int],
    nclasses: int,
    table: Sequence[int],
    kinds: int,
    loggp: Sequence[float],
    measured: bool,
    spans: bool,
    most_events: int,
    most_memory: int,
) -> dict[str, Any]: ...
