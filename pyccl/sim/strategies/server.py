"""Parameter servers: workers push gradients to shards of the model and pull it back, under a consistency rule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pyccl.errors import ConfigError
from pyccl.policy import SSP, Async, BoundedDelay, KAsync, Policy, SoftSync, Sync
from pyccl.sim.cluster import Cluster
from pyccl.sim.job import Ints, Job, Run, Strategy
from pyccl.sim.memory import state_bytes
from pyccl.sim.servers import Death, Shards, seconds_of, to_run, train
from pyccl.sim.strategies.registry import Bytes, Time, register


@register("bounded", policy=BoundedDelay)
@register("softsync", policy=SoftSync)
@register("k_async", policy=KAsync)
@register("backup", policy=Sync)
@register("ssp", policy=SSP)
@register("async", policy=Async)
@register("ps_async", policy=Async)
@register("ps_sync", policy=Sync)
@dataclass(frozen=True)
class ParameterServer(Strategy):
    """Workers compute, push to every shard, wait for the rule, and pull; a pull's request rides with the push.

    Attributes
    ----------
    value : int, optional
        The policy's number: SSP's staleness, backup workers, …
    policy : type of Policy
    servers : int, default 1
        Shards, each on the last device of one of the last hosts (and so on, if there are more of them than hosts); not
        for colocated ones.
    colocated : bool, default False
        A shard on every worker's device; its own costs a worker no message.
    replicas : int, default 0
        Further copies of each shard, in a chain over the servers that follow; a worker goes on when the last has the
        version.
    apply : float, default 0
        Seconds per byte in which a server applies a push, one after the other.
    push, pull : float, optional
        Bytes of a worker and step; default: the model's gradients, and the rows of embeddings that a batch touches.
    beyond : {"drop", "wait"}
        Of `Async` with a bound.
    weighting : {"equal", "inverse", "inverse_root"}
        Of `Async`: how a gradient's weight falls with its staleness.
    dies : float, optional
        Seconds after which server `dead` dies; requests to its shards wait for `detect` and `takeover`.
    dead : int, default 0
    detect, takeover : float, default 1
        Seconds.
    """

    name: ClassVar[str] = "parameter server"

    value: int | None = None
    policy: type[Policy] = Sync
    servers: int = 1
    colocated: bool = False
    replicas: int = 0
    apply: float = 0.0
    push: Bytes | None = None
    pull: Bytes | None = None
    beyond: str = "drop"
    weighting: str = "equal"
    dies: Time | None = None
    dead: int = 0
    detect: Time = 1.0
    takeover: Time = 1.0

    def __post_init__(self) -> None:
        if self.servers < 1:
            raise ConfigError(f"servers must be at least 1, got {self.servers}")
        if not (0 <= self.apply < math.inf):
            raise ConfigError(f"apply must be a finite time per byte of at least 0, got {self.apply}")
        if self.beyond != "drop" and self.policy is not Async:
            raise ConfigError("beyond is an option of async:MAX alone")
        if self.weighting != "equal" and self.policy is not Async:
            raise ConfigError("weighting is an option of async alone")
        self.consistency  # noqa: B018, raises if the number is wrong

    @property
    def consistency(self) -> Policy:
        """The policy with its parameters."""
        if self.policy is Async:
            return Async(self.value, self.beyond, self.weighting)
        if self.value is not None:
            return self.policy(self.value)  # type: ignore[call-arg]
        try:
            return self.policy()
        except TypeError:
            raise ConfigError(f"{self.policy.__name__} needs its number, as in 'ssp:3'") from None

    def shards(self, job: Job) -> Shards:
        """Return where workers and servers are.

        Raises
        ------
        ConfigError
            If there are not enough devices.
        """
        size, moved = job.cluster.size, job.model.nbytes + job.model.sparse_bytes
        if not self.colocated and self.servers >= size:
            raise ConfigError(
                f"{self.servers} dedicated servers leave no worker on {size} devices; write at most {size - 1}"
            )
        devices = np.arange(size)
        servers = devices if self.colocated else _spread(job.cluster, self.servers)
        workers = devices if self.colocated else np.setdiff1d(devices, servers)
        death = None if self.dies is None else Death(self.dead, self.dies, self.detect + self.takeover)
        return Shards(
            job.cluster, workers, servers, moved if self.push is None else self.push,
            moved if self.pull is None else self.pull, moved, self.apply, self.replicas, death,
        )  # fmt: skip

    def run(self, job: Job) -> Run:
        shards = self.shards(job)
        workers = len(shards.workers)
        trained = train(
            shards, self.consistency, seconds_of(job, workers), steps=job.steps, trace_steps=job.trace_steps
        )  # fmt: skip
        return to_run(trained, samples=job.model.batch, memory=self.memory(job, shards), notes=self._notes(shards))

    def memory(self, job: Job, shards: Shards) -> float:
        """Return the bytes of the fullest device: a worker's copy and gradient, a server's shards with their state."""
        model = job.model
        tables = sum(table.parameters for table in model.embeddings) * (model.itemsize + model.state)
        shard = (state_bytes(model) + tables) / len(shards.servers) * (1 + self.replicas)
        worker = 2 * (model.nbytes + model.sparse_bytes) + model.stored
        return worker + shard if self.colocated else max(worker, shard)

    def _notes(self, shards: Shards) -> tuple[str, ...]:
        found = []
        if isinstance(self.consistency, (SSP, BoundedDelay)):
            found.append("bounded staleness absorbs jitter, never a worker that is always slow")
        if shards.death is not None and shards.replicas:
            found.append(f"server {shards.death.server} dies; its successor serves {shards.death.recovery:g} s later")
        return tuple(found)


def _spread(cluster: Cluster, servers: int) -> Ints:
    """Return the devices of dedicated servers: as many interfaces as there are."""
    host = cluster.host_of
    from_end = np.searchsorted(host, host, side="right") - 1 - np.arange(len(host))
    return np.sort(np.lexsort((-host, from_end))[:servers])
