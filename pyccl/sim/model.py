"""What is trained: layers with their times, gradients and activations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pyccl.errors import ConfigError


@dataclass(frozen=True)
class Layer:
    """A layer as the simulator sees it.

    Attributes
    ----------
    name : str
    forward, backward : float
        Seconds of one micro-batch.
    nbytes : int
        Bytes of its gradient.
    activation : int
        Bytes that one micro-batch passes on to the next layer.
    """

    name: str
    forward: float
    backward: float
    nbytes: int
    activation: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.forward < math.inf and 0 <= self.backward < math.inf):
            raise ConfigError(f"layer {self.name}: forward and backward must be finite times of at least 0")
        if self.nbytes < 0 or self.activation < 0:
            raise ConfigError(f"layer {self.name}: nbytes and activation must be at least 0")


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
        Parts in which it computes them; the layers' times and activations are those of one.

    Examples
    --------
    >>> model = Model("two", [Layer("a", 0.1, 0.2, 1000), Layer("b", 0.3, 0.6, 500)], batch=32)
    >>> model.forward, model.backward, model.nbytes
    (0.4, 0.8, 1500)
    """

    name: str
    layers: Sequence[Layer]
    batch: int = 1
    micro_batches: int = 1

    @property
    def forward(self) -> float:
        """Seconds of a worker's forward passes in a step."""
        return self.micro_batches * math.fsum(layer.forward for layer in self.layers)

    @property
    def backward(self) -> float:
        """Seconds of a worker's backward passes in a step."""
        return self.micro_batches * math.fsum(layer.backward for layer in self.layers)

    @property
    def seconds(self) -> float:
        """Seconds that a worker computes in a step."""
        return self.forward + self.backward

    @property
    def nbytes(self) -> int:
        """Bytes of all gradients."""
        return sum(layer.nbytes for layer in self.layers)
