"""Federated learning: few of many clients at a time, which fetch the model, train on their own data, and report."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pyccl import _core
from pyccl.errors import ConfigError
from pyccl.policy import FedBuff as FedBuffRule
from pyccl.policy import Policy, Sync
from pyccl.sim.job import Job, Run, Strategy
from pyccl.sim.servers import MOST_ROWS, Shards, Trained, seconds_of, to_run
from pyccl.sim.strategies.registry import Bytes, Time, register
from pyccl.sim.workers import Availability


@dataclass(frozen=True)
class Federation(Strategy):
    """Clients are all devices but the last, which is the server. A job's steps are versions of the model.

    A client that has begun ends its round, whether it would still be available or not.

    Attributes
    ----------
    k : int, default 10
        Reports that make a version.
    local_steps : int, default 1
        Iterations of a client between fetching the model and reporting.
    push, pull : float, optional
        Bytes of a report and of the model; default: the model's gradients.
    retry : float, default 60
        Seconds until the server looks again for clients, if none was available.
    """

    name: ClassVar[str] = "federation"

    k: int = 10
    local_steps: int = 1
    push: Bytes | None = None
    pull: Bytes | None = None
    retry: Time = 60.0

    def __post_init__(self) -> None:
        for field in ("k", "local_steps"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{self.name}: {field} must be at least 1, got {getattr(self, field)}")
        if self.retry <= 0:
            raise ConfigError(f"{self.name}: retry must be above 0")

    @property
    @abstractmethod
    def at_once(self) -> int:
        """Clients that take part at the same time."""

    @property
    @abstractmethod
    def consistency(self) -> Policy:
        """The rule among them."""

    def run(self, job: Job) -> Run:
        clients, model = job.cluster.size - 1, job.model.nbytes + job.model.sparse_bytes
        if not self.k <= self.at_once <= clients:
            most = min(self.at_once, clients)
            raise ConfigError(
                f"{self.name}: k={self.k} reports of {self.at_once} clients at once, there are {clients} clients; "
                + (f"write k of at most {most}" if self.k > most else f"write at most {clients} at once")
            )
        push, pull = (model if given is None else given for given in (self.push, self.pull))
        shards = Shards(job.cluster, np.arange(clients), np.array([clients]), push, pull, model)
        wires = shards.wires(self.at_once, "groups")
        cohorts = isinstance(self.consistency, Sync)
        log = _core.sim_train(
            self.consistency.rule(self.at_once), wires, seconds_of(job, clients),
            _sampling(job, clients, self.at_once, cohorts, self.retry), starts=np.empty(0),
            local_steps=self.local_steps, rounds=0, versions=job.steps, horizon=math.inf,
            trace_rounds=job.trace_steps, most_rows=MOST_ROWS, most_events=0,
        )  # fmt: skip
        trained = Trained(shards, log, shards.link_bytes(wires, log["pushes"], log["pulls"]))
        samples = job.model.batch * self.local_steps
        return to_run(trained, samples=samples, memory=2 * model + job.model.stored, notes=(), at_once=self.at_once)


@register("fedavg")
@dataclass(frozen=True)
class FedAvg(Federation):
    """Federated averaging [1]_: a round is cut when `k` of `sampled` clients have reported; the rest is given up.

    References
    ----------
    .. [1] B. McMahan et al., "Communication-efficient learning of deep networks from decentralized data", 2017.
    """

    name: ClassVar[str] = "fedavg"

    sampled: int | None = None

    @property
    def at_once(self) -> int:
        return self.k if self.sampled is None else self.sampled

    @property
    def consistency(self) -> Policy:
        return Sync(backup=max(self.at_once - self.k, 0))


@register("fedbuff")
@dataclass(frozen=True)
class FedBuff(Federation):
    """FedBuff [1]_: `concurrency` clients at any time, a version of every `k` reports, stale ones too.

    References
    ----------
    .. [1] J. Nguyen et al., "Federated learning with buffered asynchronous aggregation", 2022.
    """

    name: ClassVar[str] = "fedbuff"

    concurrency: int | None = None

    @property
    def at_once(self) -> int:
        return 10 * self.k if self.concurrency is None else self.concurrency

    @property
    def consistency(self) -> Policy:
        return FedBuffRule(self.k)


def _sampling(job: Job, clients: int, slots: int, cohorts: bool, retry: float) -> _core.SimSampling:
    found = job.workers.availability if job.workers is not None else None
    here = found if isinstance(found, Availability) else Availability()
    return _core.SimSampling(clients, slots, cohorts, job.seed, retry, here.mean, here.swing, here.period)
