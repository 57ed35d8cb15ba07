"""Snapshots of a parameter server: a folder of npy files and a manifest with their checksums.

One worker writes it, and one reads it; the number of servers may differ. What is written is of one moment when nobody
pushes meanwhile; else each piece of 16,384 elements, and each chunk of rows, is. Gradients that are not part of a
version yet, clocks and the counts of admission are not written. The folder has its name once it is complete.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyccl import _core
from pyccl.errors import ConfigError
from pyccl.server.tables import DenseTable, SparseTable

__all__ = ["load", "save"]

_FORMAT, _VERSION = "pyccl parameter server", 1
_MANIFEST = "manifest.json"
_PIECE = 16 << 10  # csrc/server/record.h
_CHUNK = 1 << 25  # float32 values of one file of rows
_ROW_COLUMNS = ("ids", "values", "versions", "touches")

Tables = Mapping[str, DenseTable | SparseTable]
Bounds = Mapping[str, list[int]]
Array = npt.NDArray[Any]


def save(endpoint: _core.ServerEndpoint, tables: Tables, bounds: Bounds, path: str | PathLike[str]) -> None:
    """Write all tables.

    Parameters
    ----------
    path : path
        A folder that does not exist yet.

    Raises
    ------
    FileExistsError
        If it does.
    OSError
        If it cannot be written; nothing is left behind.
    """
    target = Path(path)
    if target.exists():
        raise FileExistsError(f"{target} exists already: a snapshot is written to a new folder")
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    draft.mkdir(mode=0o700)
    try:
        entries = []
        for number, table in enumerate(tables.values()):
            files = [
                {column: _write(draft, f"t{number}.p{part}.{column}.npy", array) for column, array in columns.items()}
                for part, columns in enumerate(_parts(endpoint, number, table, bounds))
            ]
            entries.append({"name": table.name, "said": _said(table), "parts": files})
        manifest = {"format": _FORMAT, "version": _VERSION, "tables": entries}
        (draft / _MANIFEST).write_text(json.dumps(manifest, indent=1))
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _parts(
    endpoint: _core.ServerEndpoint, number: int, table: DenseTable | SparseTable, bounds: Bounds
) -> Iterator[dict[str, Array]]:
    if isinstance(table, DenseTable):
        yield _dense(endpoint, number, table, bounds[table.name])
    else:
        yield from _chunks(endpoint, number, table)


def _said(table: DenseTable | SparseTable) -> str:
    """Return what a table must be to take a snapshot."""
    if isinstance(table, DenseTable):
        return f"dense, shape {list(table.shape)}, {type(table.optimizer).__name__}"
    return f"sparse, dim {table.dim}, {table.init!r}, {type(table.optimizer).__name__}"


def _dense(endpoint: _core.ServerEndpoint, number: int, table: DenseTable, bounds: list[int]) -> dict[str, Array]:
    columns = {f"c{k}": np.empty(table.start.size, np.float32) for k in range(1 + table.optimizer.slots)}
    steps: list[tuple[int, int]] = []
    for shard, (begin, end) in enumerate(itertools.pairwise(bounds)):
        if begin == end:
            continue
        for column, values in enumerate(columns.values()):
            values[begin:end], made = endpoint.read(number, shard, column, end - begin)
        steps += [(begin + _PIECE * piece, int(count)) for piece, count in enumerate(made)]
    return {**columns, "steps": np.array(steps, np.int64)}


def _chunks(endpoint: _core.ServerEndpoint, number: int, table: SparseTable) -> Iterator[dict[str, Array]]:
    width = table.dim * (1 + table.optimizer.slots)
    gathered: list[tuple[Array, ...]] = []

    def flush() -> dict[str, Array]:
        whole = [np.concatenate(column) for column in zip(*gathered, strict=True)]
        gathered.clear()
        return dict(zip(_ROW_COLUMNS, whole, strict=True))

    for shard in range(endpoint.shards):
        place = 0
        while place >= 0:
            ids, values, versions, touches, place = endpoint.export_rows(number, shard, place)
            gathered.append((ids, values, versions, touches))
            if sum(rows[0].size for rows in gathered) * width >= _CHUNK:
                yield flush()
    if gathered:
        yield flush()


def _write(folder: Path, name: str, array: Array) -> dict[str, Any]:
    path = folder / name
    with path.open("xb") as file:
        np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    return {"file": name, "bytes": path.stat().st_size, "blake2b": _digest(path)}


def _digest(path: Path) -> str:
    hasher = hashlib.blake2b(digest_size=32)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            hasher.update(block)
    return hasher.hexdigest()


def load(
    endpoint: _core.ServerEndpoint, tables: Tables, bounds: Bounds, path: str | PathLike[str], timeout: float
) -> None:
    """Overwrite all tables; nothing is overwritten unless all of the snapshot is good.

    Raises
    ------
    ConfigError
        If the folder is no snapshot, of another version, truncated or changed, or of other tables.
    """
    folder = Path(path)
    entries = _checked(folder, tables)
    ticket: list[int] = []
    for number, (table, entry) in enumerate(zip(tables.values(), entries, strict=True)):
        for part in entry["parts"]:
            columns = {name: np.load(folder / made["file"], allow_pickle=False) for name, made in part.items()}
            if isinstance(table, DenseTable):
                ticket = _load_dense(endpoint, number, columns, bounds[table.name])
            else:
                ticket = endpoint.import_rows(number, *(columns[name].reshape(-1) for name in _ROW_COLUMNS))
    if ticket:
        endpoint.wait(ticket, timeout)


def _load_dense(endpoint: _core.ServerEndpoint, number: int, columns: dict[str, Array], bounds: list[int]) -> list[int]:
    ticket: list[int] = []
    starts, counts = columns.pop("steps").T
    for shard, (begin, end) in enumerate(itertools.pairwise(bounds)):
        if begin == end:
            continue
        places = np.arange(begin, end, _PIECE)
        steps = np.ascontiguousarray(counts[np.searchsorted(starts, places, side="right") - 1])
        for column, values in enumerate(columns.values()):
            ticket = endpoint.load(number, shard, column, values[begin:end], steps)
    return ticket


def _checked(folder: Path, tables: Tables) -> list[dict[str, Any]]:
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        if manifest["format"] != _FORMAT:
            raise ConfigError(f"{folder} is no snapshot of a parameter server")
        if manifest["version"] != _VERSION:
            raise ConfigError(f"{folder} has version {manifest['version']} of the format, this is {_VERSION}")
        entries: list[dict[str, Any]] = manifest["tables"]
        found = {entry["name"]: entry["said"] for entry in entries}
        wanted = {table.name: _said(table) for table in tables.values()}
        if found != wanted or list(found) != list(wanted):
            raise ConfigError(f"{folder} holds other tables: {found}; here are {wanted}")
        for entry, table in zip(entries, tables.values(), strict=True):
            if isinstance(table, DenseTable) and len(entry["parts"]) != 1:
                raise ConfigError(f"{folder}: table {table.name!r} has {len(entry['parts'])} parts, not one")
            for part in entry["parts"]:
                _check_part(folder, part, table)
    except (OSError, KeyError, TypeError, AttributeError, EOFError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{folder} is no snapshot of a parameter server: {error}") from None
    return entries


def _check_part(folder: Path, part: dict[str, Any], table: DenseTable | SparseTable) -> None:
    dense = isinstance(table, DenseTable)
    columns = [*(f"c{k}" for k in range(1 + table.optimizer.slots)), "steps"] if dense else list(_ROW_COLUMNS)
    if list(part) != columns:
        raise ConfigError(f"{folder}: table {table.name!r} has columns {list(part)}, not {columns}")
    for column, made in part.items():
        path = folder / made["file"]
        if not re.fullmatch(r"t\d+\.p\d+\.\w+\.npy", made["file"]) or path.is_symlink():
            raise ConfigError(f"{folder}: {made['file']!r} is no file of a snapshot")
        if path.stat().st_size != made["bytes"] or _digest(path) != made["blake2b"]:
            raise ConfigError(f"{path} is truncated or has been changed")
        _check_array(path, column, table)
    if isinstance(table, SparseTable):
        ids, values, *others = (np.load(folder / made["file"], mmap_mode="r").size for made in part.values())
        if others != [ids, ids] or values != ids * table.dim * (1 + table.optimizer.slots):
            raise ConfigError(f"{folder}: columns of table {table.name!r} do not fit each other")


def _check_array(path: Path, column: str, table: DenseTable | SparseTable) -> None:
    """Refuse a file that is whole, and still not what the table needs."""
    array = np.load(path, allow_pickle=False, mmap_mode="r")
    if isinstance(table, DenseTable):
        wanted, good = ("int64, shape (n, 2)", array.dtype == np.int64 and array.ndim == 2 and array.shape[1:] == (2,))
        if column != "steps":
            shape = (table.start.size,)
            wanted, good = f"float32, shape {shape}", array.dtype == np.float32 and array.shape == shape
        elif good:
            starts, counts = array.T
            wanted = "rising from 0, counts not negative"
            good = array.size > 0 and starts[0] == 0 and (np.diff(starts) > 0).all() and (counts >= 0).all()
    else:
        kind = np.dtype(np.float32 if column == "values" else np.int64)
        wanted, good = f"{kind}, shape (n,)", array.dtype == kind and array.ndim == 1
        if good and column != "values":
            wanted, good = "not negative", bool((array >= 0).all())
    if not good:
        raise ConfigError(f"{path} has dtype {array.dtype} and shape {array.shape}: it must be {wanted}")
