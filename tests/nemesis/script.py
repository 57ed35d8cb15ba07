"""What happens in a round: drawn from a seed, the same in every process that draws it."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from pyccl.algorithms import algorithms

FAULTS = ("kill", "stop", "exception", "interrupt", "fork", "enospc", "rlimit")
COLLECTIVES = (
    "all_reduce", "reduce_scatter", "all_gather", "broadcast", "reduce", "gather", "scatter", "all_to_all", "barrier",
    "sendrecv",
)  # fmt: skip
ALLOCATIONS = ("empty", "register")
TARGETS = COLLECTIVES + ALLOCATIONS
DTYPES = ("int64", "float64", "int32")
MODES = ("blocking", "blocking", "async", "plan", "registered", "in_place")
WEIGHTS = {"kill": 12, "stop": 1, "exception": 5, "interrupt": 5, "fork": 3, "enospc": 2, "rlimit": 3}
LONGEST = 8000  # microseconds into an operation that a fault may strike
PATIENCE = 20.0  # seconds that an operation may wait where nobody is meant to be late
SHORT = 1.5  # the same where a rank is stopped for longer


@dataclass(frozen=True)
class Step:
    """One operation of all ranks."""

    name: str
    count: int  # elements
    dtype: str
    mode: str
    algorithm: str
    root: int


@dataclass(frozen=True)
class Fault:
    """What befalls which rank, and when.

    Attributes
    ----------
    when : str
        "before", "during" or "after" the step.
    delay : int
        Microseconds from the beginning of the step, where it strikes during one.
    amount : int
        How many bytes or descriptors a limit leaves; for how many milliseconds a rank is stopped.
    limit : str
        Which limit.
    """

    kind: str
    victim: int
    step: int
    when: str
    delay: int
    amount: int
    limit: str


@dataclass(frozen=True)
class Round:
    """Everything that a rank must know to take part."""

    name: str
    size: int
    per_node: int  # ranks; 0 for one node
    timeout: float  # seconds
    steps: tuple[Step, ...]
    fault: Fault

    @property
    def point(self) -> tuple[str, str, str, int]:
        """Which operation the fault meets, and where."""
        step = self.steps[self.fault.step]
        return step.name, self.fault.kind, self.fault.when, self.fault.delay

    def dump(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def load(cls, text: str) -> Round:
        data = json.loads(text)
        steps = tuple(Step(**step) for step in data.pop("steps"))
        return cls(steps=steps, fault=Fault(**data.pop("fault")), **data)


def draw(seed: int, number: int, size: int, faults: Sequence[str] = FAULTS, several: bool = False) -> Round:
    """Return round `number` of a seed; `several` allows for several nodes.

    The operation that the fault meets goes through all of them in turn, so that every one has its share.
    """
    rng = random.Random(f"{seed}:{number}:{size}:{','.join(faults)}")
    kind = rng.choices(list(faults), [WEIGHTS[fault] for fault in faults])[0]
    steps = [_step(rng, size, rng.choice(COLLECTIVES)) for _ in range(rng.randint(3, 7))]
    at = rng.randrange(len(steps))
    target = rng.choice(ALLOCATIONS) if kind == "enospc" else TARGETS[number % len(TARGETS)]
    steps[at] = _step(rng, size, target)
    when = "before" if kind in ("enospc", "rlimit") else rng.choice(("before", *["during"] * 6, "after"))
    delay = int(math.exp(rng.uniform(0, math.log(LONGEST)))) if when == "during" else 0
    amount, limit, timeout = 0, "", PATIENCE
    if kind == "stop":
        amount = rng.choice((300, 3200))
        timeout = SHORT if amount > 1000 * SHORT else PATIENCE
    elif kind == "enospc":
        limit, amount = "FSIZE", rng.choice((0, 4096))
    elif kind == "rlimit":
        limit = rng.choice(("NOFILE", "AS"))
        amount = 0 if limit == "NOFILE" else rng.choice((0, 1 << 16, 1 << 20, 1 << 23))
        timeout = 6.0
    fault = Fault(kind, rng.randrange(size), at, when, delay, amount, limit)
    per_node = rng.choice((0, 1, 2)) if several else 0
    return Round(f"{seed}:{number}", size, per_node, timeout, tuple(steps), fault)


def _step(rng: random.Random, size: int, name: str) -> Step:
    nbytes = int(math.exp(rng.uniform(math.log(1 << 10), math.log(4 << 20))))
    dtype = rng.choice(DTYPES)
    count = max(size, nbytes // (4 if dtype == "int32" else 8))
    mode = rng.choice(MODES)
    if name in ("barrier", "sendrecv") and mode in ("plan", "in_place"):
        mode = "blocking"
    if name not in ("all_reduce", "reduce", "broadcast") and mode == "in_place":
        mode = "registered"
    algorithm = "auto"
    if name in COLLECTIVES[:-1] and rng.random() < 0.5:
        algorithm = rng.choice([a for a in algorithms(name, size) if "hierarchical" not in a] or ["auto"])
    return Step(name, count, dtype, mode, algorithm, rng.randrange(size))
