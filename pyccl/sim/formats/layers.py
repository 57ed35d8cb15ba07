"""The layer text of ASTRA-sim and SimAI: one line a layer, with its compute times and collectives."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pyccl.sim.formats.sizes import large_side
from pyccl.sim.formats.source import Source, show
from pyccl.sim.recorder import MAX_NBYTES, Recorder
from pyccl.sim.trace import ANY, COLLECTIVE_NAMES, MAX_RANKS, WORLD, Columns, Group, Kind, Trace

__all__ = ["Layer", "read", "read_layers"]

MAX_LAYERS = 1 << 20
MAX_NS = 1 << 53
COLUMNS = (
    "name, reserved, forward compute, collective, bytes, input-gradient compute, collective, bytes, "
    "weight-gradient compute, collective, bytes, update time"
)
COLLECTIVES = {
    "ALLREDUCE": "all_reduce", "ALLGATHER": "all_gather", "REDUCESCATTER": "reduce_scatter", "ALLTOALL": "all_to_all",
    "BROADCAST": "broadcast",
}  # fmt: skip
POLICIES = {  # the group of forward, input-gradient and weight-gradient collectives
    "DATA": "wwd", "MODEL": "ttw", "HYBRID_DATA_MODEL": "ttd", "HYBRID_MODEL_DATA": "ttd", "HYBRID_TRANSFORMER": "ttd",
    "HYBRID_TRANSFORMER_FWD_IN_BCKWD": "ttd", "HYBRID_DLRM": "wwd", "DLRM": "wwd", "HYBRID_CUSTOMIZED": "ttd",
    "MICRO": "www",
}  # fmt: skip
NOT_MODELLED = ("pp", "vpp", "ga", "checkpoints", "checkpoint_initiates", "pp_comm")
DEFAULTS = {"pp": 1, "vpp": 1, "ga": 1}
GROUPS = {"w": 0, "t": 1, "d": 2, "EP": 3, "DP_EP": 4, "DP": 2, "TP": 1}


@dataclass(frozen=True)
class Layer:
    """One line: seconds of forward, input-gradient, weight-gradient and update, and the three collectives.

    A collective is (name or None, bytes that a rank brings, group).
    """

    name: str
    times: tuple[float, float, float, float]
    collectives: tuple[tuple[str | None, int, int], ...]


def read(path: str | Path, ranks: int | None = None) -> Trace:
    """Read a layer text as one training step that every rank does.

    Forward goes through the layers, backward back; each collective of forward and input gradients is waited for, those
    of the weight gradients run beside the rest of backward, and the layer's update waits for them.

    Parameters
    ----------
    path : str or Path
    ranks : int, optional
        Default: ``all_gpus`` of the first line; needed where it does not say.

    Raises
    ------
    ConfigError
        If the text is damaged, or the groups that it names do not divide the ranks; with the line.
    """
    with Source(path) as source:
        reader = _Reader(source, ranks)
        layers = reader.layers()
        columns = _step(layers)
        sized = large_side(columns, [group.size or reader.size for group in reader.groups], str(path))
        return Trace((sized,), reader.size, reader.groups, str(path), dict(reader.skipped))


def read_layers(path: str | Path, ranks: int | None = None) -> list[Layer]:
    """Return the layers of a layer text; arguments and errors as `read`."""
    with Source(path) as source:
        return _Reader(source, ranks).layers()


class _Reader:
    def __init__(self, source: Source, ranks: int | None) -> None:
        self.source = source
        self.skipped: Counter[str] = Counter()
        self.lines = ((number, line) for number, line in source.lines() if line.strip())
        number, line = self._next("a policy such as 'HYBRID_TRANSFORMER model_parallel_NPU_group: 8 all_gpus: 64'")
        words = line.split()
        self.policy = words[0].upper()
        if self.policy not in POLICIES:
            raise source.error(f"the policy must be one of {', '.join(POLICIES)}, got {show(words[0])}", line=number)
        settings = self._settings(" ".join(words[1:]), number)
        self.size = ranks if ranks is not None else settings.get("all_gpus", 0)
        if not 1 <= self.size <= MAX_RANKS:
            raise source.error(f"says no all_gpus; pass ranks from 1 to {MAX_RANKS}", line=number)
        self.groups = self._groups(settings, number)

    def _next(self, wanted: str) -> tuple[int, str]:
        for number, line in self.lines:
            try:
                return number, line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise self.source.error(f"is not UTF-8: {error.reason}", line=number) from None
        raise self.source.error(f"the file ends, expected {wanted}", line=self.source.line)

    def _settings(self, text: str, line: int) -> dict[str, int]:
        out = {}
        for key, value in re.findall(r"(\w+)\s*:\s*(\S+)", text):
            if re.fullmatch(r"[0-9]{1,9}", value):
                out[key] = int(value)
            else:
                self.skipped[f"setting {key[:40]!r}, which is no number"] += 1
        for key in NOT_MODELLED:
            if out.get(key, DEFAULTS.get(key, 0)) != DEFAULTS.get(key, 0):
                self.skipped[f"{key} (line {line}): the layers run once, in order"] += 1
        return out

    def _groups(self, settings: dict[str, int], line: int) -> tuple[Group, ...]:
        """Ranks of a tensor-parallel group are neighbours, then come experts, then copies, then pipeline stages."""
        default = {"DATA": 1, "MODEL": self.size}.get(self.policy, 1)
        tensor, stages = settings.get("model_parallel_NPU_group", default), settings.get("pp", 1)
        experts = settings.get("ep", 1)
        for name, value in (("model_parallel_NPU_group", tensor), ("pp", stages), ("ep", experts)):
            if value < 1:
                raise self.source.error(f"{name} must be at least 1, got {value}", line=line)
        copies, rest = divmod(self.size, tensor * stages)
        if rest or copies % experts:
            raise self.source.error(
                f"model_parallel_NPU_group {tensor} · pp {stages} · ep {experts} must divide the {self.size} ranks",
                line=line,
            )
        return (
            WORLD, Group(tensor, 1, name="TP"), Group(copies, tensor, name="DP"), Group(experts, tensor, name="EP"),
            Group(copies // experts, tensor * experts, name="DP_EP"),
        )  # fmt: skip

    def layers(self) -> list[Layer]:
        number, line = self._next("the number of layers")
        if not re.fullmatch(r"\s*[0-9]{1,9}\s*", line) or not 1 <= int(line) <= MAX_LAYERS:
            raise self.source.error(
                f"expected a number of layers from 1 to {MAX_LAYERS}, got {show(line)}", line=number
            )
        out = [self._layer(*self._next(f"layer {i + 1} of {int(line)}")) for i in range(int(line))]
        more = sum(1 for _ in self.lines)
        if more:
            self.skipped["line after the last layer"] += more
        return out

    def _layer(self, line: int, text: str) -> Layer:
        words = text.split()
        if len(words) < 12:
            raise self.source.error(f"a layer has 12 columns ({COLUMNS}), got {len(words)}", line=line)
        if len(words) > 12:
            self.skipped["column after the twelfth"] += len(words) - 12
        times = tuple(self._int(words[i], "time in ns", MAX_NS, line) / 1e9 for i in (2, 5, 8, 11))
        collectives = tuple(self._collective(words[i : i + 2], phase, line) for phase, i in enumerate((3, 6, 9)))
        return Layer(words[0], (times[0], times[1], times[2], times[3]), collectives)

    def _collective(self, words: list[str], phase: int, line: int) -> tuple[str | None, int, int]:
        nbytes = self._int(words[1], "bytes", MAX_NBYTES, line)
        kind, _, group = words[0].upper().partition("_")
        if kind == "NONE" or kind == "NOTYPE":
            return None, 0, 0
        if kind not in COLLECTIVES or (group and group not in GROUPS):
            raise self.source.error(
                f"a collective is NONE or one of {', '.join(COLLECTIVES)}, maybe with _TP, _DP, _EP or _DP_EP; got "
                f"{show(words[0])}",
                line=line,
            )
        return COLLECTIVES[kind], nbytes, GROUPS[group or POLICIES[self.policy][phase]]

    def _int(self, word: str, name: str, most: int, line: int) -> int:
        if not re.fullmatch(r"[0-9]{1,19}", word) or int(word) > most:
            raise self.source.error(f"{name} must be a whole number from 0 to {most}, got {show(word)}", line=line)
        return int(word)


def _step(layers: list[Layer]) -> Columns:
    out = Recorder()
    last: list[int] = []

    def node(index: int, name: str) -> int:
        out.name(index, name.encode())
        for other in last:
            out.after(index, other)
        return index

    def compute(seconds: float, name: str) -> None:
        if seconds:
            last[:] = [node(out.add(Kind.COMP, duration=seconds), name)]

    def meet(collective: tuple[str | None, int, int], name: str) -> int:
        what, nbytes, group = collective
        if what is None:
            return ANY
        return node(out.add(Kind.COLL, nbytes, ANY, 0, 0.0, COLLECTIVE_NAMES.index(what), group, lane=1), name)

    for layer in layers:
        compute(layer.times[0], f"{layer.name} forward")
        if (met := meet(layer.collectives[0], f"{layer.name} forward exchange")) >= 0:
            last[:] = [met]
    exchanged: list[int] = []
    for layer in reversed(layers):
        compute(layer.times[2], f"{layer.name} weight gradient")
        exchanged.append(meet(layer.collectives[2], f"{layer.name} weight gradient exchange"))
        compute(layer.times[1], f"{layer.name} input gradient")
        if (met := meet(layer.collectives[1], f"{layer.name} input gradient exchange")) >= 0:
            last[:] = [met]
    for layer, met in zip(reversed(layers), exchanged, strict=True):
        if met >= 0:
            last.append(met)
        compute(layer.times[3], f"{layer.name} update")
    return out.finish()
