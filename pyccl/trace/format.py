"""Reads the files that `pyccl.tracing` writes: strictly, since anybody may have written them."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

from pyccl.collectives import COLLECTIVES
from pyccl.errors import ConfigError
from pyccl.flight import FlightRecord
from pyccl.tracing import CAPACITY, FORMAT, VERSION

__all__ = ["Header", "Log", "read_file", "read_folder"]

MAX_LINE = 1 << 14  # bytes
MAX_FILES = 1 << 16
KINDS = (*COLLECTIVES, "send", "recv", "empty", "register", "split", "group", "refused", "unknown")
STATES = ("queued", "running", "done", "failed")
_LIMIT = 1 << 62
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Header:
    """The first line: whose file it is, when it was written, and how its clock relates to others.

    `written` is in seconds of the monotonic clock, and `wall` what to add to get seconds since 1970. `lost`
    operations had been overwritten.
    """

    format: str
    version: int
    communicator: str
    rank: int
    size: int
    host: str
    boot: str
    pid: int
    written: float
    wall: float
    lost: int
    reason: str


@dataclass(frozen=True)
class Log:
    """One file."""

    path: Path
    header: Header
    operations: tuple[FlightRecord, ...]


def _integer(value: object) -> bool:
    return type(value) is int and -_LIMIT < value < _LIMIT


def _count(value: object) -> bool:
    return _integer(value) and value >= 0  # type: ignore[operator]


def _peer(value: object) -> bool:
    return _integer(value) and value >= -1  # type: ignore[operator]


def _time(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e12  # type: ignore[arg-type]


def _maybe_time(value: object) -> bool:
    return value is None or _time(value)


def _text(value: object) -> bool:
    return type(value) is str and len(value) <= 8192


def _kind(value: object) -> bool:
    return value in KINDS


def _state(value: object) -> bool:
    return value in STATES


_CHECKS: Mapping[str, Callable[[object], bool]] = {
    "version": _count, "rank": _count, "size": _count, "pid": _count, "lost": _count, "written": _time, "wall": _time,
    "number": _count, "sequence": _count, "count": _count, "nbytes": _count, "tag": _count, "peer": _peer,
    "kind": _kind, "state": _state,
    "queued": _maybe_time, "start": _maybe_time, "end": _maybe_time, "wall_start": _maybe_time,
}  # fmt: skip


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _object(line: bytes, kind: type[Any]) -> Any:
    """Return a line as a dataclass; ValueError if anything is not as it was written."""
    try:
        found = json.loads(line.decode(), object_pairs_hook=_pairs, parse_constant=_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    wanted = [field.name for field in fields(kind)]
    if not isinstance(found, dict) or sorted(found) != sorted(wanted):
        raise ValueError(f"not an object with exactly the names {', '.join(wanted)}")
    for name, value in found.items():
        if not _CHECKS.get(name, _text)(value):
            raise ValueError(f"{name} cannot be {str(value)[:60]!r}")
    return kind(**found)


def _header(line: bytes) -> Header:
    header: Header = _object(line, Header)
    if header.format != FORMAT:
        raise ValueError(f"not a trace of pyccl but {header.format[:60]!r}")
    if header.version != VERSION:
        raise ValueError(f"version {header.version} of the format; this pyccl reads version {VERSION}")
    if header.rank >= header.size:
        raise ValueError(f"rank {header.rank} of {header.size}")
    return header


def read_file(path: Path) -> Log:
    """Read one file.

    Raises
    ------
    ConfigError
        With file and line, if it is not a regular file, or a line is not what `pyccl.tracing` writes.
    """
    header: Header | None = None
    operations: list[FlightRecord] = []
    number = 0
    try:
        with os.fdopen(os.open(path, _OPEN), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"{path}: not a regular file")
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise ValueError(f"longer than {MAX_LINE} bytes")
                if not line.endswith(b"\n"):
                    raise ValueError("ends in the middle of a line")
                if header is None:
                    header = _header(line)
                else:
                    operations.append(_object(line, FlightRecord))
                if len(operations) > CAPACITY:
                    raise ValueError(f"more than {CAPACITY} operations")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path}, line {number}: {error}") from error
    if header is None:
        raise ConfigError(f"{path}, line 1: the file is empty")
    return Log(path, header, tuple(operations))


def read_folder(folder: Path) -> list[Log]:
    """Read every ``*.jsonl`` of a folder, in the order of their names.

    Raises
    ------
    ConfigError
        If there is none; or naming those that cannot be read: without all ranks, the tables would blame the wrong one.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".jsonl")
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}") from error
    if not paths:
        raise ConfigError(f"{folder}: no *.jsonl in it; run the program with PYCCL_TRACE={folder}")
    if len(paths) > MAX_FILES:
        raise ConfigError(f"{folder}: more than {MAX_FILES} files")
    logs, refused = [], []
    for path in paths:
        try:
            logs.append(read_file(path))
        except ConfigError as error:
            refused.append(str(error))
    if refused:
        more = f"; {len(refused) - 8} more" if len(refused) > 8 else ""
        raise ConfigError("; ".join(refused[:8]) + more)
    return logs
