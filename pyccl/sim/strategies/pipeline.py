"""Pipeline parallelism: stages pass activations on; replicas of the pipeline exchange gradients."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum

import numpy as np

from pyccl.errors import ConfigError
from pyccl.sim.barrier import categories, columns, left_out, traced_ranks
from pyccl.sim.costs import LEVELS, Cost, network_of
from pyccl.sim.cuts import cut
from pyccl.sim.group_play import Floats, Ints
from pyccl.sim.job import Job, Run, Spans, Strategy
from pyccl.sim.memory import state_bytes
from pyccl.sim.model import Layer, Model
from pyccl.sim.pipeline_orders import ORDERS, Order, Slot, in_flight, needs, schedule
from pyccl.sim.strategies.registry import register
from pyccl.sim.strategies.synchronous import check

_BLOCK = 1 << 22  # paces held at once


@register("gpipe", order="gpipe", chunks=1)
@register("1f1b", order="1f1b", chunks=1)
@dataclass(frozen=True)
class Pipeline(Strategy):
    """A model cut into stages, through which micro-batches pass; a step ends when all gradients have been exchanged.

    Stage s of replica d is rank ``s * replicas + d``, as in Megatron-LM. An activation is sent when it is ready, beside
    the computation; one message at a time between two neighbours, and those of all replicas together. Waiting for
    other stages (the bubble) is counted as waiting for slower workers.

    Attributes
    ----------
    stages : int
        0: as many as devices.
    micro_batches : int
        0: the model's.
    algorithm : str
        Registered algorithm of all_reduce between replicas.
    order : {"gpipe", "1f1b", "interleaved"}
    chunks : int
        Pieces of the model that each stage has.
    """

    name = "pipeline"
    stages: int = 0
    micro_batches: int = 0
    algorithm: str = "ring"
    order: str = "1f1b"
    chunks: int = 1

    def run(self, job: Job) -> Run:
        return _Pipe(self, job).run()


@register("interleaved")
@dataclass(frozen=True)
class Interleaved(Strategy):
    """A pipeline whose stages have several pieces of the model each, which divides the bubble by their number.

    Attributes
    ----------
    chunks, stages, micro_batches, algorithm
        As in `Pipeline`.
    """

    name = "interleaved"
    chunks: int = 2
    stages: int = 0
    micro_batches: int = 0
    algorithm: str = "ring"

    def run(self, job: Job) -> Run:
        return Pipeline(self.stages, self.micro_batches, self.algorithm, "interleaved", self.chunks).run(job)


class _Pipe:
    """One run: the model's pieces, their order, and the recurrence over it."""

    def __init__(self, options: Pipeline, job: Job) -> None:
        size = job.cluster.size
        self.options, self.job, self.stages = options, job, options.stages or size
        if self.stages < 1 or size % self.stages:
            raise ConfigError(f"strategy {options.name}: stages must divide the {size} devices, got {self.stages}")
        if options.chunks < 1 or options.micro_batches < 0 or options.order not in ORDERS:
            raise ConfigError(
                f"strategy {options.name}: chunks must be at least 1, micro_batches at least 0, and order one of "
                f"{', '.join(ORDERS)}"
            )
        self.replicas = size // self.stages
        check("all_reduce", options.algorithm, self.replicas)
        count = options.micro_batches or job.model.micro_batches
        self.model: Model = job.model if count == job.model.micro_batches else job.model.split(count)
        layers = self.model.layers
        edges = cut([layer.forward + layer.backward for layer in layers], self.stages * options.chunks)
        self.pieces: list[tuple[Layer, ...]] = [tuple(layers[begin:end]) for begin, end in edges]
        self.order: Order = ORDERS[options.order](self.stages, count, options.chunks)
        self.slots = schedule(self.order, options.chunks)
        self.forward = [fsum(layer.forward for layer in piece) for piece in self.pieces]
        self.backward = [fsum(layer.backward for layer in piece) for piece in self.pieces]
        self.ranks: Ints = np.arange(size, dtype=np.int64).reshape(self.stages, self.replicas)
        self.network = network_of(job.cluster)

    # --- what is exchanged

    def hop(self, place: int, backward: bool) -> Cost | None:
        """Return the cost of an activation from piece `place` to the next, or of its gradient back."""
        here, there = place % self.stages, (place + 1) % self.stages
        nbytes = self.pieces[place][-1].activation
        if here == there or not nbytes:
            return None
        a, b = (there, here) if backward else (here, there)
        return self.network.messages(self.ranks[a], self.ranks[b], nbytes)

    def gradients(self, stage: int) -> Cost | None:
        """Return the cost of a stage's exchange between replicas, while all stages have theirs."""
        nbytes = self.stage_bytes(stage)
        if self.replicas == 1 or not nbytes:
            return None
        return self.network.collective("all_reduce", self.options.algorithm, nbytes, self.ranks)

    def stage_bytes(self, stage: int) -> int:
        """Return the bytes of a stage's gradients."""
        return sum(layer.nbytes for piece in self.pieces[stage :: self.stages] for layer in piece)

    # --- time

    def evaluate(self, pace: Floats, level: int, spans: list[tuple[int, str, Floats, Floats]] | None = None) -> Floats:
        """Return when each step ends.

        Parameters
        ----------
        pace : array of float, shape (stages, replicas or 1, steps)
            Factor on the model's times.
        level : int
        spans : list, optional
            Receives stage, kind, begin and end, shapes (replicas or 1, steps), of every slot.
        """
        depth, done = len(self.pieces), dict[tuple[bool, int, int], Floats]()
        arrived, lanes = dict[tuple[bool, int, int], Floats](), dict[tuple[bool, int], Floats]()
        free = [np.zeros(pace.shape[1:]) for _ in range(self.stages)]
        for stage, slot in self.slots:
            place = slot.chunk * self.stages + stage
            begin = free[stage]
            for need in needs(slot, place, depth):
                begin = np.maximum(begin, done[need] if need[2] == place else arrived[need])
            work = (self.backward if slot.backward else self.forward)[place]
            end = free[stage] = begin + work * pace[stage]
            key = (slot.backward, slot.micro_batch, place)
            done[key] = end
            arrived[key] = self._send(slot, place, end, level, lanes)
            if spans is not None:
                spans.append((stage, "backward" if slot.backward else "forward", begin, end))
        return self._finish(free, level, spans)

    def _send(
        self, slot: Slot, place: int, end: Floats, level: int, lanes: dict[tuple[bool, int], Floats]
    ) -> Floats:  # fmt: skip
        """Return when the next piece has it: bytes leave one message after the other, latencies overlap."""
        source = place - 1 if slot.backward else place
        if source < 0 or source == len(self.pieces) - 1:
            return end
        cost = self.hop(source, slot.backward)
        if cost is None:
            return end
        lane = (slot.backward, source)
        begin = np.maximum(end, lanes[lane]) if lane in lanes else end
        delay = cost.at(min(level, 1))
        lanes[lane] = begin + (cost.at(level) - delay)
        return lanes[lane] + delay

    def _finish(
        self, free: list[Floats], level: int, spans: list[tuple[int, str, Floats, Floats]] | None
    ) -> Floats:  # fmt: skip
        """Exchange the gradients: each stage when the last of its replicas is ready."""
        latest = np.zeros(free[0].shape[-1])
        for stage, ends in enumerate(free):
            ready = ends.max(axis=0)
            cost = self.gradients(stage)
            end = ready if cost is None else ready + cost.at(level)
            if spans is not None and cost is not None:
                spans.append((stage, "all_reduce", ready[None, :], end[None, :]))
            latest = np.maximum(latest, end)
        return latest

    def paces(self) -> tuple[list[Floats], Floats]:
        """Return the factors of each block of steps, and what each rank computes in all steps, shape (size,)."""
        job, size = self.job, self.job.cluster.size
        busy = np.array([self._busy(stage) for stage in range(self.stages)]).repeat(self.replicas)
        if job.workers is None:
            return [np.ones((self.stages, 1, 1))], busy * job.steps
        whole = self.model.seconds / self.stages
        if not whole:
            raise ConfigError(f"strategy {self.options.name} needs a model with times")
        blocks, total = [], np.zeros(size)
        width = max(1, _BLOCK // size)
        for first in range(0, job.steps, width):
            times = job.workers.times(size, min(width, job.steps - first), whole, job.seed, first) / whole
            total += times.sum(axis=1) * busy
            blocks.append(times.reshape(self.stages, self.replicas, -1))
        return blocks, total

    def _busy(self, stage: int) -> float:
        mine = slice(stage, None, self.stages)
        return self.model.micro_batches * fsum([*self.forward[mine], *self.backward[mine]])

    # --- the outcome

    def run(self) -> Run:
        """Return the run."""
        job, (blocks, own) = self.job, self.paces()
        ends = [np.concatenate([self.evaluate(block, level) for block in blocks]) for level in range(LEVELS)]
        if len(ends[0]) == 1:
            ends = [np.repeat(end, job.steps) for end in ends]
        step_ends = np.cumsum(ends[-1])
        makespan = float(step_ends[-1])
        ideal = self.evaluate(np.ones((self.stages, 1, 1)), 0)[0]
        bubble = 1 - max(map(self._busy, range(self.stages))) / ideal if ideal else 0.0
        return Run(
            makespan, step_ends, categories(own, [float(end.sum()) for end in ends], makespan), job.steps,
            float(self.replicas * job.model.batch * job.steps), self._link_bytes() * job.steps, self._memory(),
            spans=self._spans(blocks[0]),
            notes=(f"waiting for slower workers includes the pipeline's bubble, {bubble:.1%} of a step at least",
                   *left_out(job)),
        )  # fmt: skip

    def _memory(self) -> float:
        """Return the bytes of the fullest stage."""
        most = 0.0
        for stage, slots in enumerate(self.order):
            pieces = self.pieces[stage :: self.stages]
            held = [float(sum(layer.stored or layer.activation for layer in piece)) for piece in pieces]
            layers = [layer for piece in pieces for layer in piece]
            states = state_bytes(Model("stage", layers, itemsize=self.model.itemsize, state=self.model.state))
            most = max(most, states + in_flight(slots, held))
        return most

    def _link_bytes(self) -> Floats:
        moved: Floats = np.zeros(len(self.job.cluster.bandwidth))
        for place in range(len(self.pieces) - 1):
            for back in (False, True):
                if (cost := self.hop(place, back)) is not None:
                    moved = moved + cost.link_bytes * self.model.micro_batches
        for stage in range(self.stages):
            if (exchange := self.gradients(stage)) is not None:
                moved = moved + exchange.link_bytes / self.stages
        return moved

    def _spans(self, pace: Floats) -> Spans:
        steps = self.job.trace_steps
        if not steps:
            return Spans()
        found: list[tuple[int, str, Floats, Floats]] = []
        ends = self.evaluate(pace[..., :steps], LEVELS - 1, found)
        count = min(steps, self.job.steps)
        ends = np.repeat(ends, count) if len(ends) == 1 else ends
        offsets, rows = np.concatenate([[0.0], np.cumsum(ends)]), []
        kept = set(traced_ranks(self.job.cluster.size))
        for step in range(count):
            for stage, kind, begin, end in found:
                for replica in range(self.replicas):
                    rank, r, s = int(self.ranks[stage, replica]), replica % len(begin), step % begin.shape[1]
                    if rank in kept:
                        at = offsets[step]
                        rows.append((rank, kind, float(at + begin[r, s]), float(at + end[r, s]), step))
        return columns(rows)
