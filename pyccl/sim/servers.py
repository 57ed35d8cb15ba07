"""Where a parameter server's shards are, how workers reach them, and what came of a training with them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pyccl import _core
from pyccl.errors import ConfigError
from pyccl.policy import Policy, Sync
from pyccl.sim.cluster import Cluster
from pyccl.sim.job import Applied, Floats, Ints, Job, Run, Spans
from pyccl.sim.workers import Workers

_SPANS = ("compute", "push", "wait", "pull", "replicate")  # csrc/sim/training_log.h
_MOST_PARTS = 1 << 24
MOST_ROWS = 1 << 22  # of applied gradients: 128 MiB


@dataclass(frozen=True)
class Death:
    """A server that dies.

    Attributes
    ----------
    server : int
    time : float
        Seconds.
    recovery : float
        Seconds until its successor serves, if there are replicas.
    """

    server: int
    time: float
    recovery: float


@dataclass(frozen=True)
class Shards:
    """Equal shards of a model, each on a device; what is not a server's device, or what is too if colocated, works.

    Attributes
    ----------
    cluster : Cluster
    workers, servers : array of int
        Devices.
    push, pull, state : float
        Bytes that a worker sends to all shards a step, that it receives, and of the model.
    apply : float
        Seconds per byte that a server needs to apply a push.
    replicas : int
        Copies of each shard besides its owner's, on the servers that follow it.
    death : Death or None
    """

    cluster: Cluster
    workers: Ints
    servers: Ints
    push: float
    pull: float
    state: float
    apply: float = 0.0
    replicas: int = 0
    death: Death | None = None

    def __post_init__(self) -> None:
        if not len(self.workers):
            raise ConfigError(f"{len(self.servers)} dedicated servers leave no worker on {self.cluster.size} devices; "
                              f"write at most {self.cluster.size - 1}")  # fmt: skip
        if not 0 <= self.replicas < len(self.servers):
            raise ConfigError(
                f"replicas={self.replicas} needs at least {self.replicas + 1} servers, there are {len(self.servers)}; "
                f"write servers={self.replicas + 1}, or fewer replicas"
            )
        if self.death is not None and not 0 <= self.death.server < len(self.servers):
            raise ConfigError(
                f"server {self.death.server} cannot die: there are {len(self.servers)}; number them from 0"
            )

    def _routes(self, source: Ints, destination: Ints) -> tuple[Ints, Ints]:
        """Return the routes of all pairs, the second changing fastest."""
        pairs = np.repeat(source, len(destination)), np.tile(destination, len(source))
        return self.cluster.routes(*pairs)

    @cached_property
    def up(self) -> tuple[Ints, Ints]:
        """Routes from each worker to each server."""
        return self._routes(self.workers, self.servers)

    @cached_property
    def down(self) -> tuple[Ints, Ints]:
        """Routes to each worker from each server, in the same order."""
        n, m = len(self.workers), len(self.servers)
        return self.cluster.routes(np.tile(self.servers, n), np.repeat(self.workers, m))

    def wires(self, slots: int, kind: str = "") -> _core.SimWires:
        """Return the network for as many messages at once; `kind` asks for a more general one than is needed.

        "uniform": one shared link each way. "groups": workers' messages, whose parts move together, in groups that
        share the network alike. "flows": every part by itself, with replicas, a dead server, shards beside workers.
        """
        m = len(self.servers)
        apply = self.apply * self.push / m
        apart = not (np.isin(self.servers, self.workers).any() or self.replicas or self.death)
        kind = kind or ("uniform" if apart and self.cluster.uniform else "groups" if apart else "flows")
        if kind == "uniform":
            latency, rate = self.cluster.uniform or (0.0, 0.0)
            return _core.SimWires.uniform(
                slots, self.push, self.pull, m * rate, m * rate, limit=rate, latency=latency, apply=apply
            )
        if max(slots, len(self.workers)) * m > _MOST_PARTS:
            raise ConfigError(f"{len(self.workers)} workers times {m} shards are too many for a network that is shared")
        links = self.cluster.bandwidth, self.cluster.latency
        if kind == "groups":
            return _core.SimGroupWires(slots, m, *links, self.up, self.down, self.push, self.pull, apply)
        death = self.death or Death(0, math.inf, 0.0)
        return _core.SimFlowWires(
            slots, m, *links, self.up, self.down, self._routes(self.servers, self.servers), self.push / m,
            self.pull / m, self.state / m, apply, self.replicas, death.server, death.time, death.recovery,
        )  # fmt: skip

    def link_bytes(self, wires: _core.SimWires, pushes: Ints, pulls: Ints) -> Floats:
        """Return the bytes on each link after so many pushes and pulls of each worker."""
        if isinstance(wires, _core.SimFlowWires):
            return wires.link_bytes
        m, total = len(self.servers), np.zeros(len(self.cluster.bandwidth))
        for (ends, links), each, counts in ((self.up, self.push / m, pushes), (self.down, self.pull / m, pulls)):
            weights = np.repeat(np.repeat(counts * each, m), np.diff(ends, prepend=0))
            total += np.bincount(links, weights=weights, minlength=len(total))
        return total


def seconds_of(job: Job, workers: int) -> _core.SimSeconds:
    """Return what the first `workers` devices draw, number by number, as `Workers.times` has them."""
    draws = (job.workers or Workers()).columns(job.cluster.size, job.model.seconds)
    slow = draws.slowness
    return _core.SimSeconds.drawn(
        draws.compute.core(draws.base), draws.factors[:workers].tolist(), slow.slow, slow.enter, slow.leave, job.seed,
        workers,
    )  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes
    ----------
    shards : Shards
    log : dict
        Columns of ``_core.sim_train``: among others ``finish`` of each worker, ``step_ends`` of each version,
        ``seconds`` (compute, latency, bandwidth, contention, recovery) of each worker.
    link_bytes : array of float, shape (links,)
    """

    shards: Shards
    log: Mapping[str, Any]
    link_bytes: Floats


def train(
    shards: Shards, policy: Policy, seconds: Floats | _core.SimSeconds, *, steps: int, starts: Floats | None = None,
    horizon: float = math.inf, trace_steps: int = 0, network: str = "", most_rows: int = MOST_ROWS,
) -> Trained:  # fmt: skip
    """Let workers compute, push, wait for the rule and pull.

    Parameters
    ----------
    shards : Shards
    policy : Policy
    seconds : SimSeconds, or array of float, shape (workers, n)
        Of each worker's computations; after the last of an array the first comes again.
    steps : int
        Rounds of each worker; of the model under `Sync`, where a worker may be too late in some.
    starts : array of float, shape (workers,), optional
        Seconds at which each begins.
    horizon : float
        Seconds after which all stop.
    trace_steps : int
        Rounds of each worker whose spans are kept.
    network : str
        As in `Shards.wires`.
    most_rows : int
        Applied gradients that are kept.
    """
    slots, of_all = len(shards.workers), isinstance(policy, Sync)
    wires = shards.wires(slots, network)
    drawn = seconds if isinstance(seconds, _core.SimSeconds) else _core.SimSeconds.table(seconds)
    log = _core.sim_train(
        policy.rule(slots), wires, drawn, None, starts=np.empty(0) if starts is None else starts, local_steps=1,
        rounds=0 if of_all else steps, versions=steps if of_all else 0, horizon=horizon, trace_rounds=trace_steps,
        most_rows=most_rows, most_events=0,
    )  # fmt: skip
    return Trained(shards, log, shards.link_bytes(wires, log["pushes"], log["pulls"]))


def to_run(
    trained: Trained, *, samples: float, memory: float, notes: tuple[str, ...], at_once: int | None = None
) -> Run:  # fmt: skip
    """Return the result in everybody's form; `samples` are those of one gradient.

    Of more workers than take part `at_once` the others are idle: each has its share of that in its waiting.
    """
    log, shards = trained.log, trained.shards
    makespan: float = log["makespan"]
    compute, others = log["seconds"][:, :1], log["seconds"][:, 1:]
    idle = np.maximum(makespan - log["seconds"].sum(axis=1, keepdims=True), 0.0)
    if log["lost"] and shards.death is not None:
        died = f"server {shards.death.server} died after {shards.death.time:g} s and nobody has a copy: the job ends"
        notes = (*notes, died + "; write replicas=1")
    ranks = shards.workers
    applied = Applied(log["applied_time"], ranks[log["applied_worker"]], log["applied_read"], log["applied_made"])
    spans = Spans(
        ranks[log["span_rank"]], [_SPANS[kind] for kind in log["span_kind"].tolist()], log["span_begin"],
        log["span_end"], log["span_step"],
    )  # fmt: skip
    return Run(
        makespan,
        log["step_ends"],
        np.concatenate([compute, idle, others], axis=1),
        len(log["step_ends"]),
        samples * log["used"],
        trained.link_bytes,
        memory,
        log["staleness"],
        log["dropped"],
        spans,
        applied if log["all_applied"] else None,
        notes,
        None if at_once is None else _share(idle[:, 0], (len(idle) - at_once) * makespan),
    )


def _share(waiting: Floats, total: float) -> Floats:
    """Return `total` spread in proportion to `waiting`, of which it is a part."""
    every = float(waiting.sum())
    return waiting * (min(total / every, 1.0) if every else 0.0)
