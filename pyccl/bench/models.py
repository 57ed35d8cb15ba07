"""The gradient tensors of well-known models, computed from their architectures, in the order of the forward pass."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Tensor(NamedTuple):
    """One parameter; its gradient has the same shape."""

    name: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)


def _linear(name: str, inputs: int, outputs: int, *, bias: bool = True) -> Iterator[Tensor]:
    yield Tensor(f"{name}.weight", (outputs, inputs))
    if bias:
        yield Tensor(f"{name}.bias", (outputs,))


def _norm(name: str, width: int) -> Iterator[Tensor]:
    yield Tensor(f"{name}.weight", (width,))
    yield Tensor(f"{name}.bias", (width,))


def _conv_norm(name: str, inputs: int, outputs: int, kernel: int) -> Iterator[Tensor]:
    yield Tensor(f"{name}.conv.weight", (outputs, inputs, kernel, kernel))
    yield from _norm(f"{name}.bn", outputs)


def _resnet50() -> Iterator[Tensor]:
    """He et al. 2016, bottleneck blocks 3-4-6-3 (as torchvision's: stride in the 3x3 convolution)."""
    yield from _conv_norm("stem", 3, 64, 7)
    width_in = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for block in range(blocks):
            name = f"layer{stage + 1}.{block}"
            yield from _conv_norm(f"{name}.1", width_in, width, 1)
            yield from _conv_norm(f"{name}.2", width, width, 3)
            yield from _conv_norm(f"{name}.3", width, 4 * width, 1)
            if block == 0:
                yield from _conv_norm(f"{name}.downsample", width_in, 4 * width, 1)
            width_in = 4 * width
    yield from _linear("fc", 2048, 1000)


def _vgg16() -> Iterator[Tensor]:
    """Simonyan & Zisserman 2015, configuration D, without batch normalisation."""
    inputs = 3
    for index, width in enumerate((64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)):
        yield Tensor(f"features.{index}.weight", (width, inputs, 3, 3))
        yield Tensor(f"features.{index}.bias", (width,))
        inputs = width
    for index, (rows, columns) in enumerate(((512 * 7 * 7, 4096), (4096, 4096), (4096, 1000))):
        yield from _linear(f"classifier.{index}", rows, columns)


def _bert_large() -> Iterator[Tensor]:
    """Devlin et al. 2019, uncased, with the pooler and both pre-training heads; the decoder shares the embedding."""
    h, vocabulary = 1024, 30522
    for name, rows in (("word", vocabulary), ("position", 512), ("token_type", 2)):
        yield Tensor(f"embeddings.{name}", (rows, h))
    yield from _norm("embeddings.norm", h)
    for index in range(24):
        layer = f"layer.{index}"
        for name in ("query", "key", "value", "attention.output"):
            yield from _linear(f"{layer}.{name}", h, h)
        yield from _norm(f"{layer}.attention.norm", h)
        yield from _linear(f"{layer}.intermediate", h, 4 * h)
        yield from _linear(f"{layer}.output", 4 * h, h)
        yield from _norm(f"{layer}.output.norm", h)
    yield from _linear("pooler", h, h)
    yield Tensor("mlm.bias", (vocabulary,))
    yield from _linear("mlm.transform", h, h)
    yield from _norm("mlm.norm", h)
    yield from _linear("nsp", h, 2)


def _gpt2() -> Iterator[Tensor]:
    """Radford et al. 2019, the small one; the output layer shares the embedding."""
    h = 768
    yield Tensor("wte", (50257, h))
    yield Tensor("wpe", (1024, h))
    for index in range(12):
        block = f"h.{index}"
        yield from _norm(f"{block}.ln_1", h)
        yield from _linear(f"{block}.attention.qkv", h, 3 * h)
        yield from _linear(f"{block}.attention.projection", h, h)
        yield from _norm(f"{block}.ln_2", h)
        yield from _linear(f"{block}.mlp.up", h, 4 * h)
        yield from _linear(f"{block}.mlp.down", 4 * h, h)
    yield from _norm("ln_f", h)


def _llama_7b_layer() -> Iterator[Tensor]:
    """Touvron et al. 2023, one decoder layer of the 7B model: RMSNorm, no biases."""
    h, inner = 4096, 11008
    for name in ("q", "k", "v", "o"):
        yield from _linear(f"attention.{name}", h, h, bias=False)
    yield from _linear("mlp.gate", h, inner, bias=False)
    yield from _linear("mlp.up", h, inner, bias=False)
    yield from _linear("mlp.down", inner, h, bias=False)
    yield Tensor("input_norm.weight", (h,))
    yield Tensor("post_attention_norm.weight", (h,))


MODELS: dict[str, Callable[[], Iterator[Tensor]]] = {
    "resnet50": _resnet50,
    "vgg16": _vgg16,
    "bert-large": _bert_large,
    "gpt2": _gpt2,
    "llama-7b-layer": _llama_7b_layer,
}

PARAMETERS = {
    "resnet50": 25_557_032,
    "vgg16": 138_357_544,
    "bert-large": 336_226_108,  # 335,141,888 without the pre-training heads
    "gpt2": 124_439_808,
    "llama-7b-layer": 202_383_360,
}


def gradients(model: str) -> list[Tensor]:
    """Return the gradient tensors of `model`, forward order.

    Raises
    ------
    ValueError
        If `model` is unknown.
    """
    if model not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}, got {model!r}")
    return list(MODELS[model]())


def buckets(counts: Sequence[int], capacity: int) -> list[int]:
    """Return the elements of each fused bucket of at most `capacity` elements, a larger tensor alone in its own.

    Gradients become ready from the last layer to the first, so buckets are filled in that order.

    Examples
    --------
    >>> buckets([1, 9, 2, 2], capacity=4)
    [4, 9, 1]
    """
    result: list[int] = []
    room = 0
    for count in reversed(counts):
        if count > room:
            result.append(0)
            room = capacity
        result[-1] += count
        room -= count
    return result
