"""Snapshots whose checksums are right and whose contents are not; and servers that are more or fewer at each load."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyccl
from pyccl import initializers, optim
from tests import mpi
from tests.test_server_tables import shared_folder

COUNT, DIM = 40_000, 3
IDS = np.array([0, 5, 2**31, 2**63 - 1])


def tables(ps: pyccl.ParameterServer) -> None:
    ps.table("w", init=np.zeros(COUNT, np.float32), optimizer=optim.Momentum(0.5))
    ps.table("e", sparse=True, dim=DIM, init=initializers.Zeros(), optimizer=optim.Momentum(0.5))


def push(ps: pyccl.ParameterServer) -> None:
    ps.push("w", np.linspace(-1, 1, COUNT, dtype=np.float32))
    ps.push("e", np.arange(12, dtype=np.float32).reshape(4, 3), ids=IDS)


@contextmanager
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="snapshots"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def forge(snapshot: Path, column: str, change: Callable[[np.ndarray], Any] | bytes) -> None:
    """Write another array, or other bytes, and a manifest that vouches for it."""
    manifest = json.loads((snapshot / "manifest.json").read_text())
    for entry in manifest["tables"]:
        for part in entry["parts"]:
            if column not in part:
                continue
            path = snapshot / part[column]["file"]
            if isinstance(change, bytes):
                path.write_bytes(change)
            else:
                np.save(path, change(np.load(path)))
            data = path.read_bytes()
            digest = hashlib.blake2b(data, digest_size=32).hexdigest()
            part[column] |= {"bytes": len(data), "blake2b": digest}
    (snapshot / "manifest.json").write_text(json.dumps(manifest))


FORGED: dict[str, tuple[str, Callable[[np.ndarray], Any] | bytes]] = {
    "fewer elements": ("c0", lambda a: a[:-1]),
    "another shape": ("c0", lambda a: a.reshape(2, -1)),
    "another dtype": ("c1", lambda a: a.astype(np.float64)),
    "another byte order": ("c1", lambda a: a.astype(">f4")),
    "objects": ("c0", lambda a: a.astype(object)),
    "empty": ("c0", b""),
    "no array": ("c0", b"\x93NUMPY" + bytes(100)),
    "steps below 0": ("steps", lambda a: a * np.array([1, -1])),
    "steps that do not begin": ("steps", lambda a: a + np.array([1, 0])),
    "steps in no order": ("steps", lambda a: a[::-1]),
    "no steps": ("steps", lambda a: a[:0]),
    "flat steps": ("steps", lambda a: a.reshape(-1)),
    "negative ids": ("ids", lambda a: -1 - a),
    "ids that are real": ("ids", lambda a: a.astype(np.float64)),
    "fewer rows": ("values", lambda a: a[:-1]),
    "fewer ids": ("ids", lambda a: a[:-1]),
    "rows of whole numbers": ("values", lambda a: a.astype(np.int32)),
    "fewer versions": ("versions", lambda a: a[:-1]),
    "a negative version": ("versions", lambda a: a - 100),
}


@mpi.check(sizes=(1,), cases=list(FORGED))
def forged_snapshots_change_nothing(comm: pyccl.Communicator, case: str) -> None:
    column, change = FORGED[case]
    with pyccl.ParameterServer(comm) as ps, folder() as path:
        tables(ps)
        push(ps)
        ps.save(path / "one")
        push(ps)
        w, rows = ps.pull("w"), ps.pull("e", ids=IDS)
        forge(path / "one", column, change)
        with pytest.raises(pyccl.ConfigError, match=r"snapshot|must be|do not fit"):
            ps.load(path / "one")
        np.testing.assert_array_equal(ps.pull("w"), w)
        np.testing.assert_array_equal(ps.pull("e", ids=IDS), rows)
        push(ps)


@mpi.check(sizes=(1,))
def parts_of_a_dense_table(comm: pyccl.Communicator) -> None:
    with pyccl.ParameterServer(comm) as ps, folder() as path:
        tables(ps)
        push(ps)
        ps.save(path / "one")
        manifest = path / "one" / "manifest.json"
        whole = json.loads(manifest.read_text())
        for times in (0, 2):
            parts = whole["tables"][0]["parts"] * times
            manifest.write_text(
                json.dumps({**whole, "tables": [{**whole["tables"][0], "parts": parts}, whole["tables"][1]]})
            )
            with pytest.raises(pyccl.ConfigError, match=f"{times} parts"):
                ps.load(path / "one")


@mpi.check(sizes=(1,))
def who_has_finished_loads_nothing(comm: pyccl.Communicator) -> None:
    with pyccl.ParameterServer(comm) as ps, folder() as path:
        tables(ps)
        push(ps)
        ps.finish()
        ps.save(path / "one")
        w = ps.pull("w")
        with pytest.raises(pyccl.CommError, match="has finished"):
            ps.load(path / "one")
        np.testing.assert_array_equal(ps.pull("w"), w)


@mpi.check(sizes=(4,))
def servers_more_and_fewer(comm: pyccl.Communicator) -> None:
    """4, 1, 3, 2 servers, with and without copies: each goes on where the last one was saved."""
    path = shared_folder(comm)
    expected: Any = None
    for turn, (servers, replicas) in enumerate([("colocated", 1), (1, 0), ([0, 3, 1], 2), (2, 1), ("colocated", 0)]):
        with pyccl.ParameterServer(comm, servers=servers, replicas=replicas) as ps:
            tables(ps)
            if comm.rank == ps.workers[0]:
                if turn:
                    ps.load(path / str(turn - 1))
                push(ps)
                ps.save(path / str(turn))
                expected = [ps.pull("w"), ps.pull("e", ids=IDS)]
            with ps.serve():
                pass
    if comm.rank == 0:
        w, state = np.zeros(COUNT, np.float32), [np.zeros(COUNT, np.float32)]
        for step in range(1, 6):
            optim.Momentum(0.5).step(w, state, np.linspace(-1, 1, COUNT, dtype=np.float32), step)
        np.testing.assert_array_equal(expected[0], w)
        shutil.rmtree(path)


test_mpi = mpi.checks(globals())
