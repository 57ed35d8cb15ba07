"""Tensor parallelism: a layer's matrices are split over neighbours, which join its output by all_reduce."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pyccl.errors import ConfigError
from pyccl.sim.barrier import run_rounds
from pyccl.sim.buckets import CAP
from pyccl.sim.costs import Cost, network_of
from pyccl.sim.cuts import divisors
from pyccl.sim.exchange import parts_of
from pyccl.sim.job import Job, Run, Strategy
from pyccl.sim.memory import state_bytes
from pyccl.sim.model import Layer
from pyccl.sim.strategies.registry import Bytes, register
from pyccl.sim.strategies.synchronous import check
from pyccl.sim.timeline import Timeline


@register("tensor")
@dataclass(frozen=True)
class Tensor(Strategy):
    """Megatron-LM's split [1]_ over groups of `ways` neighbours, and data parallelism across the groups.

    Every device has 1/ways of each layer's work and parameters; a layer's activation is all_reduced `Layer.reduces`
    times forward and as often backward, while the group waits. Gradients are exchanged beside the last backward pass,
    on links of their own: that the two may share links is not modelled. A group takes one batch.

    Attributes
    ----------
    ways : int
    algorithm, gradients : str
        Registered algorithms of all_reduce, of activations and of gradients.
    bucket : float
        Bytes; 0: each tensor alone.

    References
    ----------
    .. [1] M. Shoeybi et al., "Megatron-LM: training multi-billion parameter language models using model parallelism",
       2019, arXiv:1909.08053
    """

    name = "tensor"
    ways: int = 8
    algorithm: str = "ring"
    gradients: str = "ring"
    bucket: Bytes = CAP

    def run(self, job: Job) -> Run:
        network, model, size = network_of(job.cluster), job.model, job.cluster.size
        if self.ways < 1 or size % self.ways:
            raise ConfigError(f"strategy tensor: ways must divide the {size} devices, got {self.ways}; "
                              f"write tensor:{divisors(size, self.ways)}")  # fmt: skip
        near = np.arange(size, dtype=np.int64).reshape(-1, self.ways)
        across = np.ascontiguousarray(near.T)
        check("all_reduce", self.algorithm, self.ways)
        check("all_reduce", self.gradients, len(near))
        layers = [
            replace(
                layer, forward=layer.forward / self.ways, backward=layer.backward / self.ways,
                nbytes=-(-layer.nbytes // self.ways),
            )
            for layer in model.layers
        ]  # fmt: skip
        parts = parts_of(layers, self.bucket)

        def join(timeline: Timeline, layer: Layer) -> None:
            for _ in range(layer.reduces if layer.activation and self.ways > 1 else 0):
                cost = network.collective("all_reduce", self.algorithm, layer.activation, near)
                timeline.wait(timeline.launch(cost, f"all_reduce {layer.name}", "tensor"))

        def exchange(nbytes: int) -> Cost:
            return network.collective("all_reduce", self.gradients, nbytes, across)

        def step(timeline: Timeline) -> None:
            end = None
            for micro_batch in range(model.micro_batches):
                for layer in layers:
                    timeline.compute(layer.forward, "forward")
                    join(timeline, layer)
                for index, part in enumerate(parts):
                    for layer in part.layers:
                        timeline.compute(layer.backward, "backward")
                        join(timeline, layer)
                    if micro_batch == model.micro_batches - 1 and part.nbytes and len(near) > 1:
                        end = timeline.launch(exchange(part.nbytes), f"all_reduce bucket {index}", "data")
            if end is not None:
                timeline.wait(end)

        shard = replace(model, layers=layers)
        return run_rounds(
            job, step, size=size, seconds=model.seconds / self.ways, samples=len(near) * model.batch,
            memory=state_bytes(shard) + model.stored / self.ways,
        )  # fmt: skip
