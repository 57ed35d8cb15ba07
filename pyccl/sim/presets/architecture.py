"""A model before it meets a device: operations and elements of each layer."""

from __future__ import annotations

from dataclasses import dataclass

from pyccl.sim.embedding import Embedding


@dataclass(frozen=True)
class Row:
    """A layer, for one sample.

    Attributes
    ----------
    name : str
    flops : float
        Of the forward pass; a multiplication with an addition is two.
    parameters : int
    activation : float
        Elements passed on to the next layer.
    stored : float
        Elements kept for the backward pass.
    reduces : int
        all_reduces of the activation that tensor parallelism needs in the forward pass, and again in the backward pass.
    """

    name: str
    flops: float
    parameters: int
    activation: float = 0.0
    stored: float = 0.0
    reduces: int = 1


@dataclass(frozen=True)
class Architecture:
    """Rows in the order of the forward pass, and how the model is usually trained.

    Attributes
    ----------
    rows : tuple of Row
    batch : int
        Samples of a worker and step, where nothing else is said.
    dtype, optimizer : str
    sequence : int
        Tokens of a sample; 0 where there are none.
    embeddings : tuple of Embedding
    join : int
        Number of the layer that needs what the embeddings look up.
    """

    rows: tuple[Row, ...]
    batch: int
    dtype: str = "float32"
    optimizer: str = "momentum"
    sequence: int = 0
    embeddings: tuple[Embedding, ...] = ()
    join: int = 0
