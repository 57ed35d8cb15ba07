"""The sections of a scenario file and their settings, with their kinds."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pyccl.errors import ConfigError
from pyccl.sim.model import Layer, Model
from pyccl.sim.settings import SettingError, check_units, normalise

SECTIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "cluster": {},  # pyccl.sim.settings knows them
        "model": {"preset": "text", "name": "text", "batch": "count", "micro_batches": "count", "layers": "layers"},
        "workers": {"compute": "text", "slow": "factors", "slowness": "text", "availability": "text"},
        "failures": {"mtbf": "time", "node_mtbf": "time", "domain_mtbf": "time", "repair": "text"},
        "recovery": {},
        "training": {"strategy": "text", "steps": "count", "seed": "whole"},
        "plan": {
            "samples": "count", "epochs": "number", "dataset": "count", "noise": "number", "least_steps": "number",
            "penalty": "number", "deadline": "time", "budget": "money", "workers": "counts", "strategies": "names",
            "buckets": "sizes", "topologies": "names", "seeds": "count", "steps": "count",
        },
    }
)  # fmt: skip
"""A setting of a kind that is a quantity carries its unit."""

LAYER = MappingProxyType(
    {"name": "text", "forward": "time", "backward": "time", "gradient": "size", "activation": "size"}
)
MOST_STEPS = 100_000_000


def read_section(name: str, given: Any) -> dict[str, Any]:
    """Return a section in SI units.

    Raises
    ------
    SettingError
        If a setting is unknown, has no unit, or is of the wrong kind.
    """
    if not isinstance(given, Mapping):
        raise SettingError(name, f"{name} must be a section: write [{name}]")
    kinds = SECTIONS[name]
    check_units(given, kinds)
    plain = {key: value for key, value in given.items() if kinds.get(key) != "layers"}
    found = normalise(plain, kinds, f"[{name}]")
    if "layers" in given:
        found["layers"] = _layers(given["layers"])
    return found


def _layers(given: Any) -> list[dict[str, Any]]:
    if not isinstance(given, list) or not given or not all(isinstance(row, Mapping) for row in given):
        raise SettingError("layers", "layers must be tables: write [[model.layers]] for each")
    found = []
    for i, row in enumerate(given):
        check_units(row, LAYER)
        found.append({"name": f"layer {i}", **normalise(row, LAYER, "a layer")})
    return found


def make_model(section: Mapping[str, Any]) -> Model:
    """Return the model that a section describes.

    Raises
    ------
    SettingError, ConfigError
        If it says too little, or two things.
    """
    if ("preset" in section) == ("layers" in section):
        raise SettingError("model", "a model needs either preset or layers: write preset = 'resnet50'")
    options = {key: section[key] for key in ("batch", "micro_batches") if key in section}
    if "preset" in section:
        if "name" in section:
            raise SettingError("name", "a preset has a name already; leave name out")
        return Model.preset(section["preset"], **options)
    layers = [
        Layer(
            row["name"], row.get("forward", 0.0), row.get("backward", 0.0),
            _whole(row, "gradient"), _whole(row, "activation"),
        )
        for row in section["layers"]
    ]  # fmt: skip
    return Model(section.get("name", "model"), tuple(layers), **options)


def _whole(row: Mapping[str, Any], key: str) -> int:
    value = row.get(key, 0.0)
    if value != int(value):
        raise ConfigError(f"{key} must be a whole number of bytes, got {value!r}")
    return int(value)
