"""Synchronous data parallelism: every worker has the whole model, and all exchange gradients in every step."""

from __future__ import annotations

from dataclasses import dataclass

from pyccl.algorithms import algorithms, get_algorithm
from pyccl.errors import ConfigError
from pyccl.sim.barrier import run_rounds
from pyccl.sim.buckets import CAP
from pyccl.sim.costs import network_of
from pyccl.sim.exchange import backward, earlier_micro_batches, launcher, parts_of
from pyccl.sim.job import Job, Run, Strategy
from pyccl.sim.memory import replica_bytes
from pyccl.sim.strategies.registry import Bytes, register
from pyccl.sim.timeline import Timeline


def check(collective: str, algorithm: str, size: int) -> None:
    """Raise ConfigError if there is no such algorithm, or it does not serve `size` ranks."""
    try:
        entry = get_algorithm(collective, algorithm)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if not entry.serves(size):
        fit = ", ".join(algorithms(collective, size))
        raise ConfigError(f"{collective} {algorithm} does not serve {size} workers; choose one of {fit}")


@register("all_reduce")
@dataclass(frozen=True)
class AllReduce(Strategy):
    """An all_reduce of the gradients, in buckets that overlap with the backward pass.

    A collective begins when the last worker hands its bucket over, and takes what it takes when all begin together. For
    a ring that is exact: everybody's start reaches everybody within its steps. Other algorithms could save a little.

    Attributes
    ----------
    algorithm : str
        A registered algorithm of all_reduce; its name alone names the strategy too.
    bucket : float
        Bytes; 0: each tensor alone.
    overlap : bool
    """

    name = "all_reduce"
    algorithm: str = "ring"
    bucket: Bytes = CAP
    overlap: bool = True

    def run(self, job: Job) -> Run:
        check("all_reduce", self.algorithm, job.cluster.size)
        network, model = network_of(job.cluster), job.model
        parts = parts_of(model.layers, self.bucket)

        def step(timeline: Timeline) -> None:
            earlier_micro_batches(timeline, model)
            timeline.compute(model.forward / model.micro_batches, "forward")
            launch = launcher(
                timeline, lambda nbytes: network.collective("all_reduce", self.algorithm, nbytes), "all_reduce"
            )
            end = backward(timeline, parts, launch, overlap=self.overlap)
            if end is not None:
                timeline.wait(end)

        size = job.cluster.size
        return run_rounds(
            job, step, size=size, seconds=model.seconds, samples=size * model.batch, memory=replica_bytes(model)
        )


for _name in algorithms("all_reduce"):
    register(_name, algorithm=_name)(AllReduce)


@register("leader")
@dataclass(frozen=True)
class Leader(Strategy):
    """One worker gathers all gradients, makes the update, and broadcasts the model: what everything else improves on.

    Attributes
    ----------
    gather, broadcast : str
        Registered algorithms.
    """

    name = "leader"
    gather: str = "direct"
    broadcast: str = "binomial"

    def run(self, job: Job) -> Run:
        network, model, size = network_of(job.cluster), job.model, job.cluster.size
        check("gather", self.gather, size)
        check("broadcast", self.broadcast, size)

        def step(timeline: Timeline) -> None:
            timeline.compute(model.forward, "forward")
            timeline.compute(model.backward, "backward")
            timeline.launch(network.collective("gather", self.gather, size * model.nbytes), "gather")
            cost = network.collective("broadcast", self.broadcast, model.nbytes)
            timeline.wait(timeline.launch(cost, "broadcast"))

        memory = replica_bytes(model) + (size - 1) * model.nbytes
        return run_rounds(job, step, size=size, seconds=model.seconds, samples=size * model.batch, memory=memory)
