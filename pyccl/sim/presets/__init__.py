"""Well-known models, layer by layer, computed from their architectures."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from pyccl.errors import ConfigError
from pyccl.sim.presets.architecture import Architecture, Row
from pyccl.sim.presets.language import bert_large, gpt2, llama_7b, llama_70b
from pyccl.sim.presets.recommendation import dlrm
from pyccl.sim.presets.vision import resnet50, vgg16
from pyccl.sim.settings import unknown

__all__ = ["PRESETS", "Architecture", "Row", "architecture"]

PRESETS: MappingProxyType[str, Callable[[int | None], Architecture]] = MappingProxyType(
    {
        "resnet50": resnet50, "vgg16": vgg16, "bert-large": bert_large, "gpt2": gpt2, "llama-7b": llama_7b,
        "llama-70b": llama_70b, "dlrm": dlrm,
    }
)  # fmt: skip


def architecture(name: str, sequence: int | None = None) -> Architecture:
    """Return a model's architecture; `sequence` is the tokens of a sample where there are any.

    Raises
    ------
    ConfigError
        If there is no such preset, or it has no sequences.
    """
    if name not in PRESETS:
        raise ConfigError(unknown(name, PRESETS, "the list of presets"))
    found = PRESETS[name](sequence)
    if sequence is not None and not found.sequence:
        raise ConfigError(f"preset {name} has no sequences; leave sequence out")
    if sequence is not None and sequence < 1:
        raise ConfigError(f"sequence must be a whole number of at least 1, got {sequence!r}")
    return found
