"""Data parallelism in which devices share what each would hold: ZeRO, and its mix with whole replicas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pyccl.errors import ConfigError
from pyccl.sim.barrier import run_rounds
from pyccl.sim.buckets import CAP
from pyccl.sim.costs import Cost, network_of
from pyccl.sim.exchange import Part, backward, launcher, parts_of
from pyccl.sim.group_play import Floats, Ints
from pyccl.sim.job import Job, Run, Strategy
from pyccl.sim.memory import state_bytes
from pyccl.sim.model import Model
from pyccl.sim.strategies.registry import Bytes, register
from pyccl.sim.strategies.synchronous import check
from pyccl.sim.timeline import Timeline


@register("zero1", stage=1)
@register("zero2", stage=2)
@register("zero3", stage=3)
@dataclass(frozen=True)
class Zero(Strategy):
    """ZeRO [1]_: optimiser state (stage 1), gradients (2) and parameters (3) are spread over all devices.

    Stages 1 and 2 reduce_scatter the gradients during the backward pass, stage 2 in every micro-batch, and all_gather
    the parameters after the update. Stage 3 gathers each part of the model before it is used, while the one before it
    computes, forward and again backward, and reduce_scatters its gradient.

    Attributes
    ----------
    bucket : float
        Bytes of a part.
    reduce_scatter, all_gather : str
        Registered algorithms.
    overlap : bool
        Whether communication runs beside computation.

    References
    ----------
    .. [1] S. Rajbhandari et al., "ZeRO: memory optimizations toward training trillion parameter models", SC 2020,
       doi:10.1109/SC41405.2020.00024
    """

    name = "zero"
    stage: int = 3
    bucket: Bytes = CAP
    reduce_scatter: str = "ring"
    all_gather: str = "ring"
    overlap: bool = True

    def groups(self, job: Job) -> Ints:
        """Return the devices that share, shape (groups, members)."""
        return np.arange(job.cluster.size, dtype=np.int64)[None, :]

    def between(self, job: Job, groups: Ints, nbytes: int) -> Cost | None:
        """Return what groups exchange after a reduce_scatter within them; None if there is one group."""
        return None

    def run(self, job: Job) -> Run:
        network, model, groups = network_of(job.cluster), job.model, self.groups(job)
        shards = groups.shape[1]
        check("reduce_scatter", self.reduce_scatter, shards)
        check("all_gather", self.all_gather, shards)
        parts = parts_of(model.layers, self.bucket)

        def step(timeline: Timeline) -> None:
            def gather(nbytes: int) -> Cost:
                return network.collective("all_gather", self.all_gather, nbytes, groups)

            reduce = launcher(
                timeline, lambda n: network.collective("reduce_scatter", self.reduce_scatter, n, groups),
                "reduce_scatter",
            )  # fmt: skip

            def hand_over(index: int, nbytes: int) -> Floats:
                end = reduce(index, nbytes)
                more = self.between(job, groups, nbytes)
                return end if more is None else timeline.launch(more, f"all_reduce bucket {index}")

            steps = _gathered_parts if self.stage == 3 else _whole_parts
            steps(timeline, model, parts, gather, hand_over, self)

        size = job.cluster.size
        working = max((part.nbytes for part in parts), default=0) * 2 if self.stage == 3 else 0
        return run_rounds(
            job, step, size=size, seconds=model.seconds, samples=size * model.batch,
            memory=state_bytes(model, self.stage, shards) + model.stored + working,
        )  # fmt: skip


def _whole_parts(
    timeline: Timeline, model: Model, parts: tuple[Part, ...], gather: Callable[[int], Cost],
    hand_over: Callable[[int, int], Floats], options: Zero,
) -> None:  # fmt: skip
    """Stages 1 and 2: the parameters are all there while a step computes."""
    end = None
    for micro_batch in range(model.micro_batches):
        timeline.compute(model.forward / model.micro_batches, "forward")
        if options.stage == 2 or micro_batch == model.micro_batches - 1:
            end = backward(timeline, parts, hand_over, overlap=options.overlap)
        else:
            timeline.compute(model.backward / model.micro_batches, "backward")
    if end is None:
        return
    timeline.wait(end)
    for index, part in enumerate(parts):
        if part.nbytes:
            end = timeline.launch(gather(part.nbytes), f"all_gather bucket {index}")
    timeline.wait(end)


def _gathered_parts(
    timeline: Timeline, model: Model, parts: tuple[Part, ...], gather: Callable[[int], Cost],
    hand_over: Callable[[int, int], Floats], options: Zero,
) -> None:  # fmt: skip
    """Stage 3: a part is gathered when it is used, one part ahead."""
    order = [*reversed(range(len(parts))), *range(len(parts))] * model.micro_batches
    end = None

    def fetch(place: int) -> Floats:
        index = order[place]
        nbytes = parts[index].nbytes
        return timeline.launch(gather(nbytes), f"all_gather bucket {index}") if nbytes else timeline.now

    coming = fetch(0)
    for place, index in enumerate(order):
        timeline.wait(coming)
        if options.overlap and place + 1 < len(order):
            coming = fetch(place + 1)
        if place // len(parts) % 2:
            timeline.compute(parts[index].backward, "backward")
            if parts[index].nbytes:
                end = hand_over(index, parts[index].nbytes)
            if end is not None and not options.overlap:
                timeline.wait(end)
        else:
            timeline.compute(parts[index].forward, "forward")
        if not options.overlap and place + 1 < len(order):
            coming = fetch(place + 1)
    if end is not None:
        timeline.wait(end)


@register("hybrid", stage=3)
@dataclass(frozen=True)
class Hybrid(Zero):
    """ZeRO-3 within each host, whole replicas on all hosts: gradients are also all_reduced from host to host.

    Attributes
    ----------
    all_reduce : str
        Registered algorithm between hosts.
    """

    name = "hybrid"
    all_reduce: str = "ring"

    def groups(self, job: Job) -> Ints:
        hosts, counts = np.unique(job.cluster.host_of, return_counts=True)
        if len(set(counts.tolist())) > 1:
            raise ConfigError("strategy hybrid needs hosts with equally many devices; use zero3")
        return np.arange(job.cluster.size, dtype=np.int64).reshape(len(hosts), -1)

    def between(self, job: Job, groups: Ints, nbytes: int) -> Cost | None:
        if len(groups) == 1:
            return None
        across = np.ascontiguousarray(groups.T)
        share = -(-nbytes // groups.shape[1])
        return network_of(job.cluster).collective("all_reduce", self.all_reduce, share, across)
