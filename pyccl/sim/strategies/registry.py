"""Names and options of strategies, and how a person writes them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from pyccl.errors import ConfigError
from pyccl.sim.job import Strategy
from pyccl.sim.quantity import parse as quantity
from pyccl.sim.quantity import text as quantity_text
from pyccl.sim.settings import unknown

Bytes: TypeAlias = float
Time: TypeAlias = float
"""Options in bytes and in seconds, which a person writes with their unit."""

S = TypeVar("S", bound=type[Strategy])
_REGISTRY: dict[str, tuple[type[Strategy], dict[str, Any]]] = {}
_TEXT = re.compile(r"([\w-]+)\s*(?::([^():]+))?(?:\((.*)\))?", re.DOTALL)


def register(*names: str, **fixed: Any) -> Callable[[S], S]:
    """Register a frozen dataclass under names; `fixed` are options that the names imply.

    What stands behind a colon is its first field. Options have the kind of their annotation: int, float, bool, str, or
    `Time` and `Bytes` for quantities.
    """

    def decorate(cls: S) -> S:
        for name in names:
            if name in _REGISTRY:
                raise ValueError(f"strategy {name} exists")
            _REGISTRY[name] = cls, fixed
        return cls

    return decorate


def strategies() -> tuple[str, ...]:
    """Return all names."""
    return tuple(_REGISTRY)


def parse(text: str) -> Strategy:
    """Return the strategy that a text such as "ssp:3", "ring" or "ps_async(servers=4)" names.

    Raises
    ------
    ConfigError
        If there is no such strategy or option, or a value is of the wrong kind.
    """
    match = _TEXT.fullmatch(text.strip())
    if match is None or (match[2] is not None and not match[2].strip()):
        raise ConfigError(f"strategy {text[:60]!r}: write name, name:value or name(option=value, …), such as 'ssp:3'")
    name = match[1].replace("-", "_")
    if name not in _REGISTRY:
        raise ConfigError(unknown(name, _REGISTRY, "the list of strategies"))
    cls, fixed = _REGISTRY[name]
    fields = {f.name: f for f in dataclasses.fields(cls) if f.name not in fixed}  # type: ignore[arg-type]
    given: dict[str, str] = {}
    if match[2] is not None:
        if not fields:
            raise ConfigError(f"strategy {name} takes no value")
        given[next(iter(fields))] = match[2].strip()
    for part in filter(None, (piece.strip() for piece in (match[3] or "").split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or key in given:
            raise ConfigError(f"strategy {name}: {part!r} {'is given twice' if equals else 'is no option=value'}")
        given[key] = value.strip("'\"")
    for key in given:
        if key not in fields:
            raise ConfigError(unknown(key, fields, f"strategy {name}"))
    options = {key: _value(name, key, str(fields[key].type), value) for key, value in given.items()}
    return cls(**fixed, **options)


def text(strategy: Strategy) -> str:
    """Return a text that `parse` reads back: the name, and the options that are not the default.

    A strategy that is not registered is called by its own name.
    """
    fields = dataclasses.fields(strategy)  # type: ignore[arg-type]
    options = {f.name: getattr(strategy, f.name) for f in fields}
    entries = [
        (name, fixed)
        for name, (cls, fixed) in _REGISTRY.items()
        if cls is type(strategy) and all(options[key] == value for key, value in fixed.items())
    ]
    name, fixed = max(entries, key=lambda entry: len(entry[1]), default=(strategy.name, {}))
    changed = [f for f in fields if f.name not in fixed and options[f.name] != f.default]
    given = {f.name: _written(f, options[f.name]) for f in changed}
    first = next((f.name for f in fields if f.name not in fixed), None)
    if first in given and not set(given[first]) & set("():,"):
        name = f"{name}:{given.pop(first)}"
    rest = ", ".join(f"{key}={value}" for key, value in given.items())
    return f"{name}({rest})" if rest else name


def _written(f: dataclasses.Field[Any], value: Any) -> str:
    kind = {"Time": "time", "Bytes": "size"}.get(str(f.type).removesuffix(" | None"))
    return quantity_text(value, kind) if kind else str(value)


def _value(name: str, key: str, kind: str, text: str) -> Any:
    what = f"strategy {name}: {key}"
    kind = kind.removesuffix(" | None")
    if kind in ("Time", "Bytes"):
        return quantity(text, {"Time": "time", "Bytes": "size"}[kind], what)
    if kind == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind == "str":
        return text
    try:
        return {"int": int, "float": float}[kind](text)
    except (KeyError, ValueError):
        wanted = {"int": "a whole number", "float": "a number", "bool": "true or false"}
        raise ConfigError(f"{what} must be {wanted.get(kind, kind)}, got {text!r}") from None
