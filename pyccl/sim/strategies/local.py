"""Workers that train alone for some steps and then average their models."""

from __future__ import annotations

from dataclasses import dataclass

from pyccl.errors import ConfigError
from pyccl.sim.barrier import run_rounds
from pyccl.sim.costs import network_of
from pyccl.sim.job import Job, Run, Strategy
from pyccl.sim.memory import replica_bytes
from pyccl.sim.strategies.registry import register
from pyccl.sim.strategies.synchronous import check
from pyccl.sim.timeline import Timeline

_SHOWN = 64  # local steps that a trace shows one by one


@register("local_sgd")
@dataclass(frozen=True)
class LocalSGD(Strategy):
    """Local SGD [1]_: an all_reduce of the whole model after `local` steps. A round makes one version of the model.

    A worker that is slow in one step may be fast in the next, so that less is waited than with a barrier a step.

    References
    ----------
    .. [1] S. Stich, "Local SGD converges fast and communicates little", ICLR 2019, arXiv:1805.09767
    """

    name = "local_sgd"
    local: int = 8
    algorithm: str = "ring"

    def __post_init__(self) -> None:
        if self.local < 1:
            raise ConfigError(f"strategy {self.name}: local must be at least 1, got {self.local}")

    def memory(self, job: Job) -> float:
        """Return the bytes of a device."""
        return replica_bytes(job.model)

    def run(self, job: Job) -> Run:
        network, model, size = network_of(job.cluster), job.model, job.cluster.size
        check("all_reduce", self.algorithm, size)

        every = min(self.local, job.steps)

        def rounds(timeline: Timeline) -> None:
            if every <= _SHOWN:
                for _ in range(every):
                    timeline.compute(model.forward, "forward")
                    timeline.compute(model.backward, "backward")
            else:
                timeline.compute(every * model.seconds, f"{every} steps")
            cost = network.collective("all_reduce", self.algorithm, model.nbytes)
            timeline.wait(timeline.launch(cost, "all_reduce"))

        return run_rounds(
            job, rounds, size=size, seconds=model.seconds, samples=size * model.batch, memory=self.memory(job),
            every=every,
        )  # fmt: skip


@register("diloco")
@dataclass(frozen=True)
class DiLoCo(LocalSGD):
    """DiLoCo [1]_: local SGD whose average is a gradient for an outer Nesterov step; takes local SGD's time.

    Besides, a device holds the model as it was at the last exchange and the outer momentum, 4 bytes a parameter each.

    References
    ----------
    .. [1] A. Douillard et al., "DiLoCo: distributed low-communication training of language models", 2023,
       arXiv:2311.08105
    """

    name = "diloco"
    local: int = 500

    def memory(self, job: Job) -> float:
        return super().memory(job) + 8.0 * job.model.parameters


@register("easgd")
@dataclass(frozen=True)
class EASGD(LocalSGD):
    """Elastic averaging [1]_ in its synchronous form: takes local SGD's time, for an all_reduce of the differences.

    Every `local` steps each worker moves by d = alpha (x - centre) towards the centre, and the centre, of which each
    device holds a copy, by the sum of all d. Besides the model a device holds the centre and d.

    References
    ----------
    .. [1] S. Zhang, A. Choromanska, Y. LeCun, "Deep learning with elastic averaging SGD", NeurIPS 2015,
       arXiv:1412.6651
    """

    name = "easgd"
    local: int = 10

    def memory(self, job: Job) -> float:
        return super().memory(job) + 2.0 * job.model.nbytes
