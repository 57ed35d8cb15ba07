"""A pipeline's step: pieces of a model, their order, and a recurrence over it."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum

import numpy as np

from pyccl.errors import ConfigError
from pyccl.sim.barrier import MOST_TRACED, categories, check_spans, columns, left_out, traced_ranks
from pyccl.sim.costs import LEVELS, Cost, network_of
from pyccl.sim.cuts import cut, divisors
from pyccl.sim.group_play import Floats, Ints
from pyccl.sim.job import Job, Run, Spans
from pyccl.sim.memory import state_bytes
from pyccl.sim.model import Layer, Model
from pyccl.sim.pipeline_orders import ORDERS, Order, Slot, in_flight, needs, schedule

MOST_SLOTS = 1 << 20
_BLOCK = 1 << 22  # paces held at once
_HELD = 1 << 24  # ends of slots held at once
_Key = tuple[bool, int, int]  # backward, micro-batch, piece
_Spans = list[tuple[int, str, Floats, Floats]]  # stage, kind, begin and end, shapes (replicas or 1, steps)


@dataclass(frozen=True)
class Layout:
    """How a model is laid out; see `pyccl.sim.strategies.pipeline.Pipeline`."""

    stages: int
    micro_batches: int
    ways: int
    algorithm: str
    order: str
    chunks: int


class PipelineRun:
    """A job on a pipeline."""

    def __init__(self, layout: Layout, job: Job) -> None:
        size, ways = job.cluster.size, layout.ways
        self.layout, self.job, self.ways = layout, job, ways
        if ways < 1 or layout.chunks < 1 or layout.micro_batches < 0:
            raise ConfigError("a pipeline needs ways and chunks of at least 1, and micro_batches of at least 0")
        self.stages = layout.stages or size // ways
        if self.stages < 1 or size % (self.stages * ways):
            raise ConfigError(
                f"stages times ways must divide the {size} devices, got {self.stages} times {ways}; write a product of "
                f"{divisors(size, self.stages * ways)}"
            )
        self.replicas = size // (self.stages * ways)
        count = layout.micro_batches or job.model.micro_batches
        self.model: Model = job.model if count == job.model.micro_batches else job.model.split(count)
        layers = self.model.layers
        if count * self.stages * layout.chunks > MOST_SLOTS:
            raise ConfigError(f"{count} micro_batches on {self.stages} stages are more than {MOST_SLOTS} slots")
        edges = cut([layer.forward + layer.backward for layer in layers], self.stages * layout.chunks)
        self.pieces: list[tuple[Layer, ...]] = [tuple(layers[begin:end]) for begin, end in edges]
        self.order: Order = ORDERS[layout.order](self.stages, count, layout.chunks)
        self.slots = schedule(self.order, layout.chunks)
        self.work = {
            False: [fsum(layer.forward for layer in piece) / ways for piece in self.pieces],
            True: [fsum(layer.backward for layer in piece) / ways for piece in self.pieces],
        }
        self.ranks: Ints = np.arange(size, dtype=np.int64).reshape(self.stages, self.replicas, ways)
        self.network = network_of(job.cluster)
        self.joins = [self._joins(piece) for piece in self.pieces]

    # --- what is exchanged

    def _joins(self, piece: tuple[Layer, ...]) -> list[Cost]:
        """Return what the members of a tensor-parallel group exchange in a pass through a piece."""
        groups = self.ranks.reshape(-1, self.ways)
        return [
            self.network.collective("all_reduce", self.layout.algorithm, layer.activation, groups)
            for layer in piece
            for _ in range(layer.reduces if layer.activation and self.ways > 1 else 0)
        ]

    def hop(self, place: int, backward: bool) -> Cost | None:
        """Return the cost of an activation from piece `place` to the next, or of its gradient back."""
        here, there = place % self.stages, (place + 1) % self.stages
        nbytes = -(-self.pieces[place][-1].activation // self.ways)
        if here == there or not nbytes:
            return None
        a, b = (there, here) if backward else (here, there)
        return self.network.messages(self.ranks[a].reshape(-1), self.ranks[b].reshape(-1), nbytes)

    def gradients(self, stage: int) -> Cost | None:
        """Return the cost of a stage's exchange between replicas, while all stages have theirs."""
        nbytes = -(-sum(layer.nbytes for layer in self._layers(stage)) // self.ways)
        if self.replicas == 1 or not nbytes:
            return None
        groups = np.ascontiguousarray(self.ranks.transpose(0, 2, 1)).reshape(-1, self.replicas)
        return self.network.collective("all_reduce", self.layout.algorithm, nbytes, groups)

    def _layers(self, stage: int) -> list[Layer]:
        return [layer for piece in self.pieces[stage :: self.stages] for layer in piece]

    # --- time

    def evaluate(self, pace: Floats, level: int, spans: _Spans | None = None) -> Floats:
        """Return when each step ends.

        Parameters
        ----------
        pace : array of float, shape (stages, replicas or 1, steps)
            Factor on the model's times.
        level : int
            The network, of `pyccl.sim.costs.LEVELS`.
        spans : list, optional
            Receives every slot.
        """
        done, arrived, lanes = dict[_Key, Floats](), dict[_Key, Floats](), dict[tuple[bool, int], Floats]()
        joins = [fsum(cost.at(level) for cost in costs) for costs in self.joins]
        free = [np.zeros(pace.shape[1:]) for _ in range(self.stages)]
        for stage, slot in self.slots:
            place = slot.chunk * self.stages + stage
            begin = free[stage]
            for need in needs(slot, place, len(self.pieces)):
                begin = np.maximum(begin, done[need] if need[2] == place else arrived[need])
            end = free[stage] = begin + self.work[slot.backward][place] * pace[stage] + joins[place]
            key = (slot.backward, slot.micro_batch, place)
            done[key], arrived[key] = end, self._send(slot, place, end, level, lanes)
            if spans is not None:
                spans.append((stage, "backward" if slot.backward else "forward", begin, end))
        return self._finish(free, level, spans)

    def _send(
        self, slot: Slot, place: int, end: Floats, level: int, lanes: dict[tuple[bool, int], Floats]
    ) -> Floats:  # fmt: skip
        """Return when the next piece has it: bytes leave one message after the other, latencies overlap."""
        source = place - 1 if slot.backward else place
        if source < 0 or source == len(self.pieces) - 1 or (cost := self.hop(source, slot.backward)) is None:
            return end
        lane, delay = (slot.backward, source), cost.at(min(level, 1))
        begin = np.maximum(end, lanes[lane]) if lane in lanes else end
        lanes[lane] = begin + (cost.at(level) - delay)
        return lanes[lane] + delay

    def _finish(self, free: list[Floats], level: int, spans: _Spans | None) -> Floats:
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

    def _paces(self) -> tuple[list[Floats], Floats]:
        """Return the factors of each block of steps, and what each rank computes in all steps, shape (size,)."""
        job, size = self.job, self.job.cluster.size
        busy = np.array([self._busy(stage) for stage in range(self.stages)]).repeat(self.replicas * self.ways)
        if job.workers is None:
            return [np.ones((self.stages, 1, 1))], busy * job.steps
        whole = self.model.seconds / self.stages / self.ways
        if not whole:
            raise ConfigError("workers that differ need a model with times")
        blocks, total = [], np.zeros(size)
        width = max(1, min(_BLOCK // size, _HELD // (self.replicas * len(self.slots))))
        for first in range(0, job.steps, width):
            times = job.workers.times(size, min(width, job.steps - first), whole, job.seed, first) / whole
            total += times.sum(axis=1) * busy
            blocks.append(times.reshape(*self.ranks.shape, -1).max(axis=2))
        return blocks, total

    def _busy(self, stage: int) -> float:
        mine = slice(stage, None, self.stages)
        return self.model.micro_batches * fsum([*self.work[False][mine], *self.work[True][mine]])

    # --- the outcome

    def run(self) -> Run:
        """Return what the job brings."""
        job, (blocks, own) = self.job, self._paces()
        ends = [np.concatenate([self.evaluate(block, level) for block in blocks]) for level in range(LEVELS)]
        if len(ends[0]) == 1:
            ends = [np.repeat(end, job.steps) for end in ends]
        step_ends = np.cumsum(ends[-1])
        makespan = float(step_ends[-1])
        ideal = self.evaluate(np.ones((self.stages, 1, 1)), 0)[0]
        bubble = 1 - max(map(self._busy, range(self.stages))) / ideal if ideal else 0.0
        note = f"waiting for slower workers includes the pipeline's bubble, {bubble:.1%} of a step at least"
        return Run(
            makespan, step_ends, categories(own, [float(end.sum()) for end in ends], makespan), job.steps,
            float(self.replicas * job.model.batch * job.steps), self._link_bytes() * job.steps, self._memory(),
            spans=self._spans(blocks[0]), notes=(note, *left_out(job)),
        )  # fmt: skip

    def _memory(self) -> float:
        """Return the bytes of a device of the fullest stage."""
        most = 0.0
        for stage, slots in enumerate(self.order):
            pieces = self.pieces[stage :: self.stages]
            held = [float(sum(layer.stored or layer.activation for layer in piece)) for piece in pieces]
            part = Model("stage", self._layers(stage), itemsize=self.model.itemsize, state=self.model.state)
            most = max(most, (state_bytes(part) + in_flight(slots, held)) / self.ways)
        return most

    def _link_bytes(self) -> Floats:
        """Return the bytes of a step; what all groups do at once is spread evenly over the stages."""
        moved: Floats = np.zeros(len(self.job.cluster.bandwidth))
        for place, joins in enumerate(self.joins):
            for cost in joins:
                moved = moved + cost.link_bytes * (2 * self.model.micro_batches / self.stages)
            for back in (False, True):
                if place < len(self.pieces) - 1 and (hop := self.hop(place, back)) is not None:
                    moved = moved + hop.link_bytes * self.model.micro_batches
        for stage in range(self.stages):
            if (exchange := self.gradients(stage)) is not None:
                moved = moved + exchange.link_bytes / self.stages
        return moved

    def _spans(self, pace: Floats) -> Spans:
        count = min(self.job.trace_steps, self.job.steps)
        if not count:
            return Spans()
        found: _Spans = []
        ends = self.evaluate(pace[..., :count], LEVELS - 1, found)
        ends = np.repeat(ends, count) if len(ends) == 1 else ends
        offsets, rows = np.concatenate([[0.0], np.cumsum(ends)]), []
        check_spans(count * len(found) * MOST_TRACED // self.stages)
        places = [np.argwhere(self.ranks == rank)[0].tolist() for rank in traced_ranks(self.job.cluster.size)]
        for step in range(count):
            for stage, kind, begin, end in found:
                for place in places:
                    if place[0] == stage:
                        r, s, at = place[1] % len(begin), step % begin.shape[1], float(offsets[step])
                        rank = int(self.ranks[tuple(place)])
                        rows.append((rank, kind, at + float(begin[r, s]), at + float(end[r, s]), step))
        return columns(rows)
