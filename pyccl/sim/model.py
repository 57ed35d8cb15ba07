"""What is trained: layers with their times, gradients and activations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pyccl.errors import ConfigError
from pyccl.sim.devices import DEVICES, USUAL, itemsize, peak
from pyccl.sim.embedding import Embedding
from pyccl.sim.presets import Architecture, Row, architecture
from pyccl.sim.quantity import Quantity, positive
from pyccl.sim.settings import unknown

EFFICIENCY = 0.4
"""Share of a device's peak rate that a layer reaches, where nothing else is said. Large models on A100 reach 0.3 to
0.55 (Narayanan et al. 2021, doi:10.1145/3458817.3476209); calibrate."""
MOST_MICRO_BATCHES = 1 << 14
STATE = {"sgd": 0, "momentum": 4, "adam": 8}
"""Bytes of an optimiser's float32 state for each parameter; 16-bit parameters have a float32 copy besides."""


@dataclass(frozen=True)
class Layer:
    """A layer as the simulator sees it.

    Attributes
    ----------
    name : str
    forward, backward : float
        Seconds of one micro-batch.
    nbytes : int
        Bytes of its gradient, which are those of its parameters.
    activation : int
        Bytes that one micro-batch passes on to the next layer.
    stored : int
        Bytes that one micro-batch keeps for the backward pass.
    reduces : int
        all_reduces of the activation that tensor parallelism needs in the forward pass, and again in the backward pass.
    """

    name: str
    forward: float
    backward: float
    nbytes: int
    activation: int = 0
    stored: int = 0
    reduces: int = 2

    def __post_init__(self) -> None:
        if not (0 <= self.forward < math.inf and 0 <= self.backward < math.inf):
            raise ConfigError(f"layer {self.name}: forward and backward must be finite times of at least 0")
        if min(self.nbytes, self.activation, self.stored, self.reduces) < 0:
            raise ConfigError(f"layer {self.name}: nbytes, activation, stored and reduces must be at least 0")


@dataclass(frozen=True)
class Model:
    """Layers in the order of the forward pass, and how many samples a worker takes a step.

    Attributes
    ----------
    name : str
    layers : tuple of Layer
    batch : int
        Samples of one worker and step.
    micro_batches : int
        Parts in which it computes them, one after the other, accumulating the gradient; the layers' times and
        activations are those of one.
    itemsize : int
        Bytes of a parameter.
    state : int
        Bytes of the optimiser's state for each parameter.
    embeddings : tuple of Embedding
        Tables besides the layers.
    join : int
        Number of the layer that needs what the embeddings look up.
    device : str
        What it is computed on, one of `pyccl.sim.devices`, whose memory is then known; "": anything.

    Raises
    ------
    ConfigError
        If a number is out of range.

    Examples
    --------
    >>> model = Model("two", [Layer("a", 0.1, 0.2, 1000), Layer("b", 0.3, 0.6, 500)], batch=32)
    >>> model.forward, model.backward, model.nbytes
    (0.4, 0.8, 1500)
    >>> Model.preset("resnet50", device="A100", dtype="tf32").parameters
    25557032
    """

    name: str
    layers: Sequence[Layer]
    batch: int = 1
    micro_batches: int = 1
    itemsize: int = 4
    state: int = 8
    embeddings: Sequence[Embedding] = ()
    join: int = 0
    device: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "embeddings", tuple(self.embeddings))
        for key, least in (("batch", 1), ("micro_batches", 1), ("itemsize", 1), ("state", 0), ("join", 0)):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"model {self.name}: {key} must be a whole number of at least {least}, got {value!r}")
        if self.micro_batches > MOST_MICRO_BATCHES:
            raise ConfigError(f"model {self.name}: micro_batches must be at most {MOST_MICRO_BATCHES}")
        if not self.layers:
            raise ConfigError(f"model {self.name} has no layers; give at least one")
        if self.join > len(self.layers):
            raise ConfigError(
                f"model {self.name}: join must be at most {len(self.layers)}, its layers; got {self.join}"
            )

        if self.device and self.device not in DEVICES:
            raise ConfigError(unknown(self.device, DEVICES, "the list of devices"))

    # --- where models come from

    @classmethod
    def preset(
        cls, name: str, *, device: str | None = None, rate: Quantity | None = None, efficiency: float = EFFICIENCY,
        batch: int | None = None, micro_batches: int = 1, dtype: str | None = None, optimizer: str | None = None,
        sequence: int | None = None,
    ) -> Model:  # fmt: skip
        """Return a well-known model: "resnet50", "vgg16", "bert-large", "gpt2", "llama-7b", "llama-70b" or "dlrm".

        Parameters
        ----------
        name : str
        device : str, optional
            See `pyccl.sim.devices`; default: "A100", if there is no rate.
        rate : str or float, optional
            Peak flop/s, such as "312 Tflop/s".
        efficiency : float, default 0.4
            Share of it that the layers reach.
        batch : int, optional
            Samples of one worker and step; default: as the model is usually trained.
        micro_batches : int, default 1
        dtype : {"float32", "tf32", "float16", "bfloat16"}, optional
            Of parameters and gradients; default: bfloat16 for language models, else float32.
        optimizer : {"sgd", "momentum", "adam"}, optional
        sequence : int, optional
            Tokens of a sample.

        Raises
        ------
        ConfigError
            If a name is unknown or a number is out of range.
        """
        found = architecture(name, sequence)
        device = USUAL if device is None and rate is None else device
        return cls.from_flops(
            found, name=name, device=device, rate=rate, efficiency=efficiency, batch=batch, dtype=dtype,
            micro_batches=micro_batches, optimizer=optimizer,
        )  # fmt: skip

    @classmethod
    def from_flops(
        cls, rows: Iterable[Row] | Architecture, *, name: str = "model", device: str | None = None,
        rate: Quantity | None = None, efficiency: float = EFFICIENCY, batch: int | None = None,
        micro_batches: int = 1, dtype: str | None = None, optimizer: str | None = None,
    ) -> Model:  # fmt: skip
        """Return a model whose layers take their operations over rate times efficiency, backward twice as long.

        Parameters
        ----------
        rows : iterable of Row
            Operations and elements of each layer, for one sample; see `pyccl.sim.presets`.
        name, device, rate, efficiency, batch, micro_batches, dtype, optimizer
            As in `preset`.

        Examples
        --------
        >>> rows = [Row("only", flops=2e9, parameters=1000)]
        >>> Model.from_flops(rows, rate="1 Tflop/s", efficiency=0.5, batch=10).seconds
        0.12
        """
        found = rows if isinstance(rows, Architecture) else Architecture(tuple(rows), batch=1)
        dtype, optimizer = dtype or found.dtype, optimizer or found.optimizer
        item, batch = itemsize(dtype), found.batch if batch is None else batch
        if optimizer not in STATE:
            raise ConfigError(unknown(optimizer, STATE, "the list of optimizers"))
        if not 0 < efficiency <= 1:
            raise ConfigError(f"efficiency must be above 0 and at most 1, got {efficiency!r}")
        if (device is None) == (rate is None):
            raise ConfigError("give either device, such as 'A100', or rate, such as '312 Tflop/s'")
        speed = efficiency * (peak(device, dtype) if device is not None else positive(rate or 0, "speed", "rate"))
        if not (isinstance(batch, int) and isinstance(micro_batches, int) and batch >= micro_batches >= 1):
            raise ConfigError(f"batch must be a whole number of at least micro_batches, got {batch}, {micro_batches}")
        samples = batch / micro_batches
        layers = [
            Layer(
                row.name, row.flops * samples / speed, 2 * row.flops * samples / speed, item * row.parameters,
                round(item * samples * row.activation), round(item * samples * row.stored), row.reduces,
            )
            for row in found.rows
        ]  # fmt: skip
        state = STATE[optimizer] + (4 if item == 2 else 0)
        return cls(name, layers, batch, micro_batches, item, state, found.embeddings, found.join, device or "")

    @classmethod
    def from_torch(cls, module: Any, example: Any, **options: Any) -> Model:
        """Return a model of a torch module by running it once on `example`, a batch of one; options as `from_flops`.

        Operations of linear, convolution, recurrent and attention modules are counted; see `pyccl.sim.torch_model`.
        """
        from pyccl.sim.torch_model import rows_of

        return cls.from_flops(rows_of(module, example), **{"name": type(module).__name__, **options})

    @classmethod
    def from_layers(cls, path: str | Path, *, batch: int = 1, ranks: int | None = None) -> Model:
        """Return the layers of a SimAI/ASTRA layer text: their times, and the bytes of their gradients' exchange."""
        from pyccl.sim.formats.layers import read_layers

        layers = [
            Layer(row.name, row.times[0], row.times[1] + row.times[2], row.collectives[2][1], row.collectives[0][1])
            for row in read_layers(path, ranks)
        ]
        return cls(Path(path).stem, layers, batch)

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Model:
        """Return what the section ``[model]`` of a scenario describes; see `pyccl.sim.model_table`."""
        from pyccl.sim.model_table import from_table

        return from_table(table)

    def to_table(self) -> dict[str, Any]:
        """Return the model as a table that `from_table` reads back to an equal one."""
        from pyccl.sim.model_table import to_table

        return to_table(self)

    # --- what it takes

    @cached_property
    def _once(self) -> tuple[float, float]:
        return math.fsum(layer.forward for layer in self.layers), math.fsum(layer.backward for layer in self.layers)

    @property
    def forward(self) -> float:
        """Seconds of a worker's forward passes in a step."""
        return self.micro_batches * self._once[0]

    @property
    def backward(self) -> float:
        """Seconds of a worker's backward passes in a step."""
        return self.micro_batches * self._once[1]

    @property
    def seconds(self) -> float:
        """Seconds that a worker computes in a step."""
        return self.forward + self.backward

    @cached_property
    def nbytes(self) -> int:
        """Bytes of all gradients, without those of embeddings."""
        return sum(layer.nbytes for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Elements of the layers."""
        return self.nbytes // self.itemsize

    @property
    def stored(self) -> int:
        """Bytes that one micro-batch keeps for the backward pass."""
        return sum(layer.stored for layer in self.layers)

    @cached_property
    def sparse_bytes(self) -> float:
        """Bytes of the embedding rows that a worker's batch touches: what it pulls, and pushes, of all tables."""
        return math.fsum(table.sparse_bytes(self.batch, self.itemsize) for table in self.embeddings)

    def split(self, micro_batches: int) -> Model:
        """Return the same work in so many micro-batches."""
        share = self.micro_batches / micro_batches
        layers = [
            replace(
                layer, forward=layer.forward * share, backward=layer.backward * share,
                activation=round(layer.activation * share), stored=round(layer.stored * share),
            )
            for layer in self.layers
        ]  # fmt: skip
        return replace(self, layers=layers, micro_batches=micro_batches)
