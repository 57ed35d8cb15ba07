"""Pipeline parallelism: stages pass activations on; replicas of the pipeline exchange gradients."""

from __future__ import annotations

from dataclasses import dataclass

from pyccl.errors import ConfigError
from pyccl.sim.job import Job, Run, Strategy
from pyccl.sim.pipeline_orders import ORDERS
from pyccl.sim.pipeline_run import Layout, PipelineRun
from pyccl.sim.strategies.registry import register
from pyccl.sim.strategies.synchronous import check


@register("gpipe", order="gpipe", chunks=1)
@register("1f1b", order="1f1b", chunks=1)
@dataclass(frozen=True)
class Pipeline(Strategy):
    """A model cut into stages, through which micro-batches pass; a step ends when all gradients have been exchanged.

    Member t of stage s of replica d is rank ``(s * replicas + d) * ways + t``, as in Megatron-LM. An activation is sent
    when it is ready, beside the computation, each member its share; one message at a time between two neighbours, and
    those of all replicas together. Waiting for other stages (the bubble) is counted as waiting for slower workers.

    Attributes
    ----------
    stages : int
        0: as many as there is room for.
    micro_batches : int
        0: the model's.
    ways : int
        Devices over which every layer of a stage is split, as in strategy tensor.
    algorithm : str
        Registered algorithm of all_reduce: between replicas, and within a stage.
    order : {"gpipe", "1f1b", "interleaved"}
    chunks : int
        Pieces of the model that each stage has.
    """

    name = "pipeline"
    stages: int = 0
    micro_batches: int = 0
    ways: int = 1
    algorithm: str = "ring"
    order: str = "1f1b"
    chunks: int = 1

    def run(self, job: Job) -> Run:
        if self.order not in ORDERS:
            raise ConfigError(f"strategy pipeline: order must be one of {', '.join(ORDERS)}, got {self.order!r}")
        check("all_reduce", self.algorithm, job.cluster.size)
        layout = Layout(self.stages, self.micro_batches, self.ways, self.algorithm, self.order, self.chunks)
        return PipelineRun(layout, job).run()


@register("interleaved")
@dataclass(frozen=True)
class Interleaved(Strategy):
    """A pipeline whose stages have several pieces of the model each, which divides the bubble by their number.

    Attributes
    ----------
    chunks, stages, micro_batches, ways, algorithm
        As in `Pipeline`.
    """

    name = "interleaved"
    chunks: int = 2
    stages: int = 0
    micro_batches: int = 0
    ways: int = 1
    algorithm: str = "ring"

    def run(self, job: Job) -> Run:
        return Pipeline(
            self.stages, self.micro_batches, self.ways, self.algorithm, "interleaved", self.chunks
        ).run(job)  # fmt: skip
