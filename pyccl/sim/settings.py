"""The settings of a cluster: which there are, of what kind, and how they are read from Python and TOML."""

from __future__ import annotations

import difflib
import math
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pyccl.errors import ConfigError
from pyccl.sim import quantity

NODE = MappingProxyType(
    {
        "name": "text", "hosts": "count", "gpus_per_host": "count", "nics_per_host": "count", "nic": "rate",
        "latency": "time", "intra": "rate", "intra_latency": "time", "price": "price", "power": "power",
        "memory": "size",
    }
)  # fmt: skip
"""Settings of equal hosts."""

TOPOLOGIES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "switch": {},
        "ring": {},
        "torus": {"dims": "counts"},
        "fat_tree": {"oversubscription": "ratio", "hosts_per_leaf": "count", "spines": "count"},
        "rail_optimised": {},
        "dragonfly": {"groups": "count", "routers": "count", "local": "rate", "between": "rate"},
        "wan": {"sites": "count", "uplink": "rate", "uplink_latency": "time", "egress": "egress"},
        "graph": {"hosts": "names", "links": "links"},
    }
)
"""Settings of each topology besides those of its hosts."""

QUANTITIES = ("time", "rate", "price", "power", "egress", "size", "money")
_LINK = MappingProxyType({"ends": "names", "bandwidth": "rate", "latency": "time"})


class SettingError(ConfigError):
    """A setting that cannot be used; `key` says where to look for it in a file."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def known(topology: str) -> dict[str, str]:
    """Return the settings that `topology` has, with their kinds."""
    common = {} if topology == "graph" else dict(NODE)
    return {**common, "duplex": "duplex", "nodes": "nodes", **TOPOLOGIES[topology]}


def normalise(settings: Mapping[str, Any], kinds: Mapping[str, str], where: str) -> dict[str, Any]:
    """Return `settings` in SI units.

    Raises
    ------
    SettingError
        If a key is unknown (the message names the nearest one) or a value is not of its kind.
    """
    for key in settings:
        if key not in kinds:
            raise SettingError(key, unknown(key, kinds, where))
    return {key: _value(key, value, kinds[key]) for key, value in settings.items() if value is not None}


def unknown(key: str, choices: Iterable[str], where: str) -> str:
    """Return what to say of a name that does not exist."""
    names = sorted(choices)
    near = difflib.get_close_matches(key, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
    return f"{where} has no {key!r}; {hint}"


def _value(key: str, value: Any, kind: str) -> Any:
    try:
        if kind in QUANTITIES:
            return (quantity.positive if kind in ("rate", "size") else quantity.parse)(value, kind, key)
        return _plain(key, value, kind)
    except ConfigError as error:
        raise error if isinstance(error, SettingError) else SettingError(key, str(error)) from None


def _plain(key: str, value: Any, kind: str) -> Any:
    if kind == "count" and _is_count(value):
        return int(value)
    if kind == "counts" and isinstance(value, (list, tuple)) and value and all(map(_is_count, value)):
        return [int(n) for n in value]
    if kind == "ratio" and isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 1:
        return float(value)
    if kind == "whole" and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return int(value)
    if kind == "number" and _is_number(value):
        return float(value)
    if kind == "flag" and isinstance(value, bool):
        return bool(value)
    if kind == "sizes" and isinstance(value, (list, tuple)) and value:
        return [quantity.nbytes(size, key) for size in value]
    if kind == "factors" and isinstance(value, Mapping):
        return {_rank(key, rank): _factor(key, factor) for rank, factor in value.items()}
    if kind == "text" and isinstance(value, str):
        return str(value)
    if kind == "duplex" and value in ("full", "half"):
        return str(value)
    if kind == "names" and isinstance(value, (list, tuple)) and value and all(isinstance(v, str) for v in value):
        return [str(v) for v in value]
    if kind in ("nodes", "links") and isinstance(value, (list, tuple)) and value:
        parts = NODE if kind == "nodes" else _LINK
        return [normalise(_mapping(key, item), parts, kind[:-1]) for item in value]
    wanted = {
        "count": "a whole number of at least 1", "counts": "a list of whole numbers of at least 1",
        "ratio": "a number of at least 1", "text": "a text", "duplex": "'full' or 'half'",
        "names": "a list of names", "nodes": "a list of tables", "links": "a list of tables",
        "whole": "a whole number of at least 0", "number": "a finite number of at least 0", "flag": "true or false",
        "sizes": "a list of sizes such as '25 MiB'", "factors": "a table of ranks and factors such as { 7 = 2.0 }",
    }  # fmt: skip
    raise ConfigError(f"{key} must be {wanted[kind]}, got {value!r}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf


def _rank(key: str, rank: Any) -> int:
    if not str(rank).isdecimal() or len(str(rank)) > 9:
        raise ConfigError(f"{key}: {str(rank)[:40]!r} is no rank; write {{ 7 = 2.0 }} for rank 7")
    return int(rank)


def _factor(key: str, factor: Any) -> float:
    if not _is_number(factor) or factor == 0:
        raise ConfigError(f"{key}: a factor must be a finite number above 0, got {factor!r}")
    return float(factor)


def _mapping(key: str, item: Any) -> Mapping[str, Any]:
    if not isinstance(item, Mapping):
        raise ConfigError(f"{key} must be a list of tables, got {item!r} in it")
    return item


# --- TOML


MOST_THINGS = 1 << 22  # hosts, spines, …
MOST_BYTES = 1 << 20
"""A larger file is no cluster and no scenario."""


def read(path: Path) -> tuple[dict[str, Any], str]:
    """Return what a TOML file holds, and its text.

    Raises
    ------
    ConfigError
        If the file cannot be read or parsed, or is too large.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        text = raw.decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: byte {raw[error.start]:#x} is no UTF-8; save it as UTF-8 text") from None
    if len(raw) > MOST_BYTES:
        raise ConfigError(f"{path}: longer than {MOST_BYTES} bytes; is it a TOML file?")
    try:
        return _parse(text), text
    except (ValueError, RecursionError) as error:
        at = re.search(r"at line (\d+)", str(error))
        raise ConfigError(f"{path}:{at[1] if at else last_line(text)}: not TOML: {error}") from None


def load(path: Path, section: str) -> tuple[dict[str, Any], str]:
    """Return a section of a TOML file, and the file's text.

    Raises
    ------
    ConfigError
        If the file cannot be read or parsed, or has no such section.
    """
    document, text = read(path)
    found = document.get(section)
    if not isinstance(found, dict):
        raise ConfigError(f"{path}:{last_line(text)}: no section [{section}]; add one")
    return found, text


def last_line(text: str) -> int:
    """Return the number of the last line that says something."""
    return text.rstrip().count("\n") + 1


def _parse(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib.loads(text)
    import tomlkit

    return tomlkit.parse(text).unwrap()


def check_units(settings: Mapping[str, Any], kinds: Mapping[str, str]) -> None:
    """Raise SettingError where a file gives a bare number for a quantity: there it carries its unit."""
    for key, value in settings.items():
        kind = kinds.get(key, "")
        bare = isinstance(value, list) and not all(isinstance(size, str) for size in value)
        if (kind in QUANTITIES and not isinstance(value, str)) or (kind == "sizes" and bare):
            kind = "size" if kind == "sizes" else kind
            quantity_error = f"{key} = {value!r} has no unit; write for example {quantity.EXAMPLES[kind]!r}"
            raise SettingError(key, quantity_error)
        if kind in ("nodes", "links") and isinstance(value, list):
            for item in value:
                check_units(_mapping(key, item), NODE if kind == "nodes" else _LINK)


def check_counts(settings: Mapping[str, Any], kinds: Mapping[str, str]) -> None:
    """Raise SettingError where a file asks for more than fits in memory, before anything is made."""
    hosts: Any = settings.get("hosts")
    for key in ("gpus_per_host", "nics_per_host"):
        each: Any = settings.get(key)
        if _is_count(hosts) and _is_count(each) and hosts * each > MOST_THINGS:
            raise SettingError(key, f"{hosts} hosts of {key} = {each}: a file has at most {MOST_THINGS} of a kind")
    for key, value in settings.items():
        values = value if isinstance(value, list) else [value]
        if kinds.get(key) in ("count", "counts"):
            product = math.prod(count for count in values if _is_count(count))
            if product > MOST_THINGS:
                raise SettingError(key, f"{key} = {value!r}"[:80] + f": a file has at most {MOST_THINGS} of a kind")
        elif kinds.get(key) == "nodes":
            for row in values:
                check_counts(_mapping(key, row), NODE)


def line_of(text: str, key: str, section: str = "") -> int:
    """Return the first line on which `key` is set in `section`, else that where the section begins, else 1."""
    start, end, name = 0, len(text), re.escape(section)
    header = re.search(rf"^[ \t]*\[\[?[ \t]*{name}\b", text, re.MULTILINE) if section else None
    if header:
        other = re.compile(rf"^[ \t]*\[(?!\[?[ \t]*{name}\b)", re.MULTILINE).search(text, header.end())
        start, end = header.start(), other.start() if other else end
    setting = re.compile(rf"^.*(?<![\w-])[\"']?{re.escape(key)}[\"']?[ \t]*(=|\])", re.MULTILINE)
    match = setting.search(text, start, end)
    return text.count("\n", 0, match.start() if match else start) + 1


def in_units(settings: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, Any]:
    """Return normalised settings as a file has them: quantities with their unit."""
    written: dict[str, Any] = {}
    for key, value in settings.items():
        kind = kinds[key]
        if kind in QUANTITIES:
            written[key] = quantity.text(value, kind)
        elif kind == "sizes":
            written[key] = [quantity.text(size, "size") for size in value]
        elif kind == "factors":
            written[key] = {str(rank): factor for rank, factor in value.items()}
        elif kind in ("nodes", "links"):
            written[key] = [in_units(item, NODE if kind == "nodes" else _LINK) for item in value]
        else:
            written[key] = value
    return written
