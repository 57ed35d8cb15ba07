"""The section [model] of a scenario, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pyccl.errors import ConfigError
from pyccl.sim.embedding import Embedding
from pyccl.sim.model import Layer, Model
from pyccl.sim.presets import Row
from pyccl.sim.quantity import nbytes, parse, text
from pyccl.sim.settings import SettingError, unknown

_DEVICE = MappingProxyType({"device": str, "rate": str, "efficiency": float, "dtype": str, "optimizer": str})
_SIZES = MappingProxyType({"name": str, "batch": int, "micro_batches": int})
_PRESET = MappingProxyType({"preset": str, "sequence": int, **_SIZES, **_DEVICE})
_FLOPS = MappingProxyType({"layers": list, **_SIZES, **_DEVICE})
_TIMES = MappingProxyType(
    {"layers": list, "embeddings": list, "join": int, "itemsize": int, "state": int, "device": str, **_SIZES}
)  # fmt: skip
_ROW = MappingProxyType({"name": str, "flops": float, "parameters": int, "activation": float, "stored": float,
                         "reduces": int})  # fmt: skip
_LAYER = MappingProxyType({"name": str, "forward": "time", "backward": "time", "nbytes": "size", "activation": "size",
                           "stored": "size", "reduces": int})  # fmt: skip
_EMBEDDING = MappingProxyType({"rows": int, "dim": int, "ids": int, "zipf": float, "tables": int})


def from_table(table: Mapping[str, Any]) -> Model:
    """Return what the section ``[model]`` describes.

    It names a `preset` and a `device` or `rate`; or it has `layers` with `forward`, `backward` and `nbytes`; or
    `layers` with `flops` and `parameters` (of one sample), and a device or rate. Options are those of `Model.preset`.

    Raises
    ------
    ConfigError
        If a key is unknown (the message names the nearest one), missing or of the wrong kind, or has no unit.
    """
    layers = table.get("layers")
    if "preset" in table:
        given = _checked(table, _PRESET, "a model with a preset")
        name = given.pop("name", given["preset"])
        return dataclasses.replace(Model.preset(given.pop("preset"), **given), name=name)
    if not isinstance(layers, list) or not layers or not all(isinstance(row, Mapping) for row in layers):
        raise SettingError("model", "a model needs preset = 'resnet50' or the like, or layers, a list of tables")
    if "flops" in layers[0]:
        given = _checked(table, _FLOPS, "a model with flops")
        rows = [Row(**_checked(row, _ROW, "a layer with flops", ("name", "flops", "parameters"))) for row in layers]
        del given["layers"]
        return Model.from_flops(rows, **given)
    given = _checked(table, _TIMES, "a model with layers")
    given["layers"] = [
        Layer(**_checked(row, _LAYER, "a layer", ("name", "forward", "backward", "nbytes"))) for row in layers
    ]
    given["embeddings"] = [
        Embedding(**_checked(row, _EMBEDDING, "an embedding", ("rows", "dim"))) for row in given.get("embeddings", ())
    ]
    return Model(**{"name": "model", **given})


def to_table(model: Model) -> dict[str, Any]:
    """Return the model as layers with times; default values are left out."""
    rows = [_written(layer, _LAYER) for layer in model.layers]
    tables = [_written(embedding, _EMBEDDING) for embedding in model.embeddings]
    table = {**_written(model, _TIMES), "layers": rows}
    return {**table, "embeddings": tables} if tables else table


def _checked(
    table: Any, kinds: Mapping[str, Any], where: str, needed: tuple[str, ...] = ()
) -> dict[str, Any]:  # fmt: skip
    if not isinstance(table, Mapping):
        raise SettingError("model", f"{where} must be a table, got {table!r}")
    for key in table:
        if key not in kinds:
            raise SettingError(key, unknown(key, kinds, where))
    for key in needed:
        if key not in table:
            raise SettingError("model", f"{where} needs {key}")
    return {key: _value(key, value, kinds[key]) for key, value in table.items()}


def _value(key: str, value: Any, kind: Any) -> Any:
    if isinstance(kind, str):
        if not isinstance(value, str):
            example = {"time": "3 ms", "size": "64 MiB"}[kind]
            raise SettingError(key, f"{key} = {value!r} has no unit; write for example {example!r}")
        try:
            return parse(value, kind, key) if kind == "time" else nbytes(value, key)
        except ConfigError as error:
            raise SettingError(key, str(error)) from None
    wanted = (int, float) if kind is float else kind
    if not isinstance(value, wanted) or isinstance(value, bool):
        names = {int: "a whole number", float: "a number", str: "a text", list: "a list of tables"}
        raise SettingError(key, f"{key} must be {names[kind]}, got {value!r}")
    return value


def _written(value: Any, kinds: Mapping[str, Any]) -> dict[str, Any]:
    written = {}
    for field in dataclasses.fields(value):
        kind, given = kinds[field.name], getattr(value, field.name)
        if kind is list or given == field.default:
            continue
        written[field.name] = text(float(given) if kind == "time" else given, kind) if isinstance(kind, str) else given
    return written
