"""Recommendation models: dense layers on every worker, embedding tables spread over all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

from pyccl.errors import ConfigError
from pyccl.sim.barrier import run_rounds
from pyccl.sim.buckets import CAP
from pyccl.sim.costs import network_of
from pyccl.sim.exchange import parts_of
from pyccl.sim.group_play import Floats
from pyccl.sim.job import Job, Run, Strategy
from pyccl.sim.memory import replica_bytes
from pyccl.sim.model import Layer
from pyccl.sim.strategies.registry import Bytes, register
from pyccl.sim.strategies.synchronous import check
from pyccl.sim.timeline import Timeline


@register("embedding")
@dataclass(frozen=True)
class EmbeddingExchange(Strategy):
    """DLRM's hybrid [1]_: all_to_all of ids, of the vectors looked up and of their gradients; all_reduce of the rest.

    Tables are spread evenly, and lookups are not timed. The layers before `Model.join` compute while the vectors come,
    and while their gradients go.

    Attributes
    ----------
    algorithm : str
        Registered algorithm of all_to_all.
    gradients : str
        Registered algorithm of all_reduce, for the dense layers.
    bucket : float
        Bytes; 0: each tensor alone.

    References
    ----------
    .. [1] M. Naumov et al., "Deep learning recommendation model for personalization and recommendation systems", 2019,
       arXiv:1906.00091
    """

    name = "embedding"
    algorithm: str = "pairwise"
    gradients: str = "ring"
    bucket: Bytes = CAP

    def run(self, job: Job) -> Run:
        network, model, size = network_of(job.cluster), job.model, job.cluster.size
        check("all_to_all", self.algorithm, size)
        check("all_reduce", self.gradients, size)
        if not model.embeddings:
            raise ConfigError(f"strategy embedding: model {model.name} has no embeddings; use preset 'dlrm', or ring")
        samples = model.batch / model.micro_batches
        ids = round(fsum(table.id_bytes(samples) for table in model.embeddings))
        vectors = round(fsum(table.pooled_bytes(samples, model.itemsize) for table in model.embeddings))
        bottom, top = model.layers[: model.join], model.layers[model.join :]

        def dense(timeline: Timeline, layers: Sequence[Layer], name: str, exchange: bool) -> Floats | None:
            end = None
            for index, part in enumerate(parts_of(layers, self.bucket) if layers else ()):
                timeline.compute(part.backward, "backward")
                if exchange and part.nbytes:
                    cost = network.collective("all_reduce", self.gradients, part.nbytes)
                    end = timeline.launch(cost, f"all_reduce {name} bucket {index}")
            return end

        def step(timeline: Timeline) -> None:
            for micro_batch in range(model.micro_batches):
                last = micro_batch == model.micro_batches - 1
                timeline.launch(network.collective("all_to_all", self.algorithm, ids), "all_to_all ids")
                cost = network.collective("all_to_all", self.algorithm, vectors)
                looked_up = timeline.launch(cost, "all_to_all vectors")
                timeline.compute(fsum(layer.forward for layer in bottom), "forward")
                timeline.wait(looked_up)
                timeline.compute(fsum(layer.forward for layer in top), "forward")
                dense(timeline, top, "top", last)
                back = timeline.launch(cost, "all_to_all gradients")
                end = dense(timeline, bottom, "bottom", last)
                timeline.wait(back if end is None else end)

        tables = sum(table.parameters for table in model.embeddings) * model.itemsize
        return run_rounds(
            job, step, size=size, seconds=model.seconds, samples=size * model.batch,
            memory=replica_bytes(model) + tables / size, tables=True,
        )  # fmt: skip
