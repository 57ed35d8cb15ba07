"""Transformers. A block is two layers, attention and MLP, with one all_reduce each under tensor parallelism.

What the backward pass keeps: Korthikanti et al. 2023, arXiv:2205.05198; attention's scores are computed anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pyccl.sim.presets.architecture import Architecture, Row


@dataclass(frozen=True)
class _Shape:
    width: int
    blocks: int
    heads: int
    inner: int
    gated: bool = False  # SwiGLU: a third matrix; no biases, a norm with one vector
    kv_heads: int = 0  # 0: as many as heads


def _blocks(shape: _Shape, tokens: int) -> Iterator[Row]:
    h, matrices = shape.width, 3 if shape.gated else 2
    kv = h * (shape.kv_heads or shape.heads) // shape.heads
    norm = h if shape.gated else 2 * h
    attention = 2 * h * h + 2 * h * kv
    mlp = matrices * h * shape.inner
    biases = (0, 0) if shape.gated else (2 * h + 2 * kv, shape.inner + h)
    scores = 4.0 * tokens * h  # of one token against all: products of queries and keys, and their sum of values
    for block in range(shape.blocks):
        yield Row(
            f"block {block} attention", tokens * (2.0 * attention + scores), attention + biases[0] + norm, tokens * h,
            6.5 * tokens * h,
        )  # fmt: skip
        yield Row(
            f"block {block} mlp", tokens * 2.0 * mlp, mlp + biases[1] + norm, tokens * h, 10.5 * tokens * h
        )  # fmt: skip


def bert_large(sequence: int | None = None) -> Architecture:
    """Devlin et al. 2019, doi:10.18653/v1/N19-1423, uncased, with the pooler, without the heads of pre-training."""
    tokens, h = sequence or 512, 1024
    rows = (
        Row("embeddings", 0.0, (30522 + 512 + 2) * h + 2 * h, tokens * h, tokens * h),
        *_blocks(_Shape(h, 24, 16, 4 * h), tokens),
        Row("pooler", 2.0 * h * h, h * h + h, h, h),
    )
    return Architecture(rows, batch=8, dtype="bfloat16", optimizer="adam", sequence=tokens)


def gpt2(sequence: int | None = None) -> Architecture:
    """Radford et al. 2019, the small one; the output layer shares the embedding."""
    tokens, h, vocabulary = sequence or 1024, 768, 50257
    rows = (
        Row("embeddings", 0.0, (vocabulary + 1024) * h, tokens * h, tokens * h),
        *_blocks(_Shape(h, 12, 12, 4 * h), tokens),
        Row("head", 2.0 * tokens * h * vocabulary, 2 * h, 0.0, tokens * vocabulary),
    )
    return Architecture(rows, batch=8, dtype="bfloat16", optimizer="adam", sequence=tokens)


def _llama(shape: _Shape, tokens: int) -> Architecture:
    h, vocabulary = shape.width, 32000
    rows = (
        Row("embeddings", 0.0, vocabulary * h, tokens * h, tokens * h),
        *_blocks(shape, tokens),
        Row("head", 2.0 * tokens * h * vocabulary, vocabulary * h + h, 0.0, tokens * vocabulary),
    )
    return Architecture(rows, batch=1, dtype="bfloat16", optimizer="adam", sequence=tokens)


def llama_7b(sequence: int | None = None) -> Architecture:
    """Touvron et al. 2023, arXiv:2307.09288, Llama 2 of 7 billion parameters."""
    return _llama(_Shape(4096, 32, 32, 11008, gated=True), sequence or 4096)


def llama_70b(sequence: int | None = None) -> Architecture:
    """Touvron et al. 2023, arXiv:2307.09288, Llama 2 of 70 billion parameters: 8 heads of keys and values."""
    return _llama(_Shape(8192, 80, 64, 28672, gated=True, kv_heads=8), sequence or 4096)
