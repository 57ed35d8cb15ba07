"""The sections of a scenario file and their settings, with their kinds."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pyccl.sim.settings import check_units, normalise

SECTIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "cluster": {},  # pyccl.sim.settings knows them
        "model": {},  # as does Model.from_table
        "workers": {"compute": "text", "slow": "factors", "slowness": "text", "availability": "text"},
        "failures": {
            "mtbf": "time", "node_mtbf": "time", "domain_mtbf": "time", "domain": "count", "repair": "text",
            "preemption": "time", "shape": "number", "notice": "time",
        },
        "recovery": {
            "policy": "text", "checkpoint": "time", "interval": "text", "detect": "time", "restart": "time",
            "spares": "whole",
        },
        "training": {"strategy": "text", "steps": "count", "seed": "whole"},
        "plan": {
            "samples": "count", "epochs": "number", "dataset": "count", "noise": "number", "least_steps": "number",
            "penalty": "number", "deadline": "time", "budget": "money", "workers": "counts", "strategies": "names",
            "buckets": "sizes", "topologies": "names", "seeds": "count", "steps": "count",
        },
    }
)  # fmt: skip
"""A setting of a kind that is a quantity carries its unit."""


def read_section(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section in SI units.

    Raises
    ------
    SettingError
        If a setting is unknown, has no unit, or is of the wrong kind.
    """
    kinds = SECTIONS[name]
    check_units(given, kinds)
    return normalise(given, kinds, f"[{name}]")
