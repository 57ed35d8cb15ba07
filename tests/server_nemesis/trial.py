"""One seeded trial: who serves, under which rule, and what strikes whom."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass

POLICIES = ("Async()", "SSP(2)", "BoundedDelay(1)", "Sync()", "Sync(backup=1)", "FedBuff(2)", "KAsync(2)")
STEPS = {1: 1000, 20: 400, 300: 100}
COPIES = tuple(STEPS)  # of every cell: from some hundred elements to several pieces on every server


@dataclass(frozen=True)
class Fault:
    """Kill a rank, or stop it for `pause` seconds, when that share of the first living worker's steps is done."""

    kind: str
    rank: int
    at: float
    delay: float
    pause: float = 0.0


@dataclass(frozen=True)
class Trial:
    """Cell (copy, worker, step) of the table belongs to one push alone."""

    seed: int
    size: int
    servers: list[int]  # empty: colocated
    replicas: int
    policy: str
    copies: int
    steps: int
    window: int  # pushes in flight
    faults: list[Fault]
    node_size: int = 0  # ranks of a pretended node; 0: one node

    @property
    def workers(self) -> list[int]:
        return [rank for rank in range(self.size) if rank not in self.servers]

    @property
    def killed(self) -> list[int]:
        return [fault.rank for fault in self.faults if fault.kind == "kill"]

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def load(text: str) -> Trial:
        fields = json.loads(text)
        return Trial(**{**fields, "faults": [Fault(**fault) for fault in fields["faults"]]})


def draw(seed: int) -> Trial:
    """Return the trial of a seed."""
    random_ = random.Random(seed)
    size = random_.choice((3, 4, 4, 5))
    servers = random_.choice(([], [], [], [0, 1, 2], [0, size - 1]))
    if size - len(servers) < 2:
        servers = []
    kind = random_.choice(("kill", "kill", "kill", "both", "stop", "stop and kill", "none"))
    serving = servers or list(range(size))
    replicas = 2 if kind == "both" and len(serving) > 2 else 1
    policy = random_.choice(POLICIES)
    if kind == "both" and (replicas < 2 or (not servers and policy.startswith("Sync"))):
        kind, replicas = "kill", 1  # of two dead workers, a mean does not tell how often it was taken
    if kind == "none":
        replicas = random_.randrange(3) % len(serving)
    victims = random_.sample(serving if kind == "both" or random_.random() < 0.8 else list(range(size)), 2)
    faults = []
    if "stop" in kind:
        faults.append(Fault("stop", victims[1], random_.uniform(0.05, 0.6), 0.0, random_.uniform(0.05, 0.5)))
    if kind not in ("stop", "none"):
        faults.append(Fault("kill", victims[0], random_.uniform(0.05, 0.9), random_.uniform(0, 3e-3)))
    if kind == "both":
        faults.append(Fault("kill", victims[1], faults[0].at + random_.choice((0, 0.05)), random_.uniform(0, 0.01)))
    faults.sort(key=lambda fault: fault.at)
    copies = random_.choice(COPIES)
    window = 1 if "Sync" in policy else random_.choice((1, 1, 64))
    return Trial(seed, size, servers, replicas, policy, copies, STEPS[copies], window, faults)
