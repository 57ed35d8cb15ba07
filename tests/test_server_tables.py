"""What tables hold after pushes: wires, delay compensation, sparse rows, snapshots."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import pyccl
from pyccl import initializers, optim
from pyccl.server import Compensation, RowRules
from tests import mpi

BIG = 50_000  # several pieces per shard
POLICIES = {"async": pyccl.Async(), "sync": pyccl.Sync(), "ssp": pyccl.SSP(1)}
# Of one gradient of at most 4 in absolute value: see csrc/kernels/codecs.h.
ROUNDING = {"float32": 0.0, "float16": 4 * 2**-11, "bfloat16": 4 * 2**-8, "int8": 4 / 253}


def numbers(count: int, seed: int = 1) -> np.ndarray:
    return np.clip(np.random.default_rng(seed).standard_normal(count), -4, 4).astype(np.float32)


@mpi.check(sizes=(1, 3), cases=[f"{policy} {wire}" for policy in ("async", "sync") for wire in ROUNDING])
def a_narrow_wire_rounds_gradients_and_nothing_else(comm, case):
    policy, wire = case.split()
    start, gradient, ids = numbers(BIG), numbers(BIG, 2), np.arange(100) * 7
    with pyccl.ParameterServer(comm, consistency=POLICIES[policy]) as ps:
        ps.table("w", init=start, optimizer=optim.SGD(1.0), wire=wire)
        ps.table("e", sparse=True, dim=20, init=initializers.Zeros(), optimizer=optim.SGD(1.0), wire=wire)
        assert (ps.pull("w") == start).all()
        comm.barrier()  # before anybody pushes
        ps.push("w", gradient)
        ps.pull("e", ids=ids)
        ps.push("e", gradient[:2000].reshape(100, 20), ids=ids)
        ps.finish()
        comm.barrier()
        times = comm.size if policy == "async" else 1
        bound = times * (ROUNDING[wire] + 4e-6)
        assert np.abs(ps.pull("w") - (start - times * gradient)).max() <= bound
        assert np.abs(ps.pull("e", ids=ids) + times * gradient[:2000].reshape(100, 20)).max() <= bound


@mpi.check(sizes=(2,))
def delay_compensation_has_its_golden_value(comm):
    """FORMULAS 4.7: f = w², read at 1, applied at 0.7; the corrected gradient is the exact one there, 1.4."""
    with pyccl.ParameterServer(comm) as ps:
        for name, lam in (("w", 0.5), ("plain", 0.0)):
            init = np.ones(1, np.float32)
            ps.table(name, init=init, optimizer=optim.SGD(1.0), compensation=Compensation(lam=lam))
        for name, expected in (("w", 0.7 - 1.4), ("plain", 0.7 - 2.0)):
            if comm.rank == 0:
                ps.pull(name)
            comm.barrier()
            if comm.rank == 1:
                ps.pull(name)
                ps.push(name, np.array([0.3], np.float32))
            comm.barrier()
            if comm.rank == 0:
                ps.push(name, np.array([2.0], np.float32))
                np.testing.assert_allclose(ps.pull(name), [expected], rtol=1e-6)
                assert ps.staleness_histogram(name).tolist() == [0, 1]


@mpi.check(sizes=(1, 2, 4), cases=list(POLICIES))
def rows_are_made_by_pushes_and_summed_by_id(comm, case):
    how, ids = initializers.Normal(0, 0.1, seed=3), np.array([5, 2**62, 5, 0, 9])
    with pyccl.ParameterServer(comm, consistency=POLICIES[case]) as ps:
        ps.table("e", sparse=True, dim=3, init=how, optimizer=optim.SGD(1.0))
        begin = ps.pull("e", ids=ids)
        np.testing.assert_array_equal(begin, how.rows("e", ids, 3))
        comm.barrier()  # before anybody pushes
        ps.push("e", np.ones((5, 3), np.float32), ids=ids)
        ps.clock()
        ps.finish()
        comm.barrier()
        times = 1 if case == "sync" else comm.size
        counts = np.array([2, 1, 2, 1, 1])[:, None]
        np.testing.assert_allclose(ps.pull("e", ids=ids), begin - times * counts, atol=1e-5)


@mpi.check(sizes=(2,))
def rules_of_rows_are_followed(comm):
    with pyccl.ParameterServer(comm, servers=1) as ps:
        ps.table(
            "late", sparse=True, dim=1, init=initializers.Zeros(), optimizer=optim.SGD(1.0), rules=RowRules(after=3)
        )
        ps.table(
            "few", sparse=True, dim=1, init=initializers.Zeros(), optimizer=optim.SGD(1.0), rules=RowRules(max_rows=16)
        )
        if comm.rank in ps.workers:
            for _ in range(4):
                ps.push("late", np.ones((1, 1), np.float32), ids=[7])
            assert ps.pull("late", ids=[7]).tolist() == [[-2.0]]  # the third and the fourth
            for k in range(64):
                ps.push("few", np.ones((1, 1), np.float32), ids=[k])
            assert 0 < np.count_nonzero(ps.pull("few", ids=np.arange(64))) <= 16
        with ps.serve():
            pass


def shared_folder(comm) -> Path:
    """A path that all ranks agree on, made by none."""
    told = np.zeros(4096, np.uint8)
    if comm.rank == 0:
        import tempfile

        text = tempfile.mkdtemp(prefix="snapshot").encode()
        told[: len(text)] = np.frombuffer(text, np.uint8)
    return Path(bytes(comm.broadcast(told)).rstrip(b"\0").decode())


def tables(ps: pyccl.ParameterServer) -> None:
    ps.table("w", init=np.zeros(BIG, np.float32), optimizer=optim.Adam(0.1))
    ps.table("e", sparse=True, dim=8, init=initializers.Normal(0, 1, seed=1), optimizer=optim.Adagrad(0.1))


@mpi.check(sizes=(2, 4))
def a_snapshot_is_loaded_by_another_number_of_servers(comm):
    folder, ids = shared_folder(comm), np.arange(5000) * 13
    with pyccl.ParameterServer(comm) as ps:
        tables(ps)
        for seed in range(3):
            ps.pull("w")
            ps.push("w", numbers(BIG, 100 * seed + comm.rank))
            ps.push("e", numbers(40_000, seed).reshape(5000, 8), ids=ids)
        comm.barrier()
        w, rows = ps.pull("w"), ps.pull("e", ids=ids)
        if comm.rank == 0:
            ps.save(folder / "one")
        comm.barrier()
    after = []
    for servers in ([comm.size - 1], "colocated"):
        with pyccl.ParameterServer(comm, servers=servers, replicas=0) as ps:
            tables(ps)
            if comm.rank == 0:
                ps.load(folder / "one")
                np.testing.assert_array_equal(ps.pull("w"), w)
                np.testing.assert_array_equal(ps.pull("e", ids=ids), rows)
                ps.push("w", numbers(BIG, 7))  # Adam goes on where it was
                after.append(ps.pull("w"))
            with ps.serve():
                pass
    if comm.rank == 0:
        np.testing.assert_array_equal(*after)
        shutil.rmtree(folder)


def truncate(folder: Path) -> None:
    path = next(folder.glob("*.c0.npy"))
    path.write_bytes(path.read_bytes()[:-4])


def change(folder: Path) -> None:
    path = next(folder.glob("*.values.npy"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def edit(**changes: object) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return run


def point_outside(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"t0.p0.c0.npy"', '"../../etc/passwd"'))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (truncate, "truncated or has been changed"),
    "changed": (change, "truncated or has been changed"),
    "version": (edit(version=99), "version 99"),
    "format": (edit(format="else"), "no snapshot"),
    "no tables": (edit(tables=[]), "other tables"),
    "not a list": (edit(tables=3), "no snapshot"),
    "outside": (point_outside, "no file of a snapshot"),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "no snapshot"),
    "not JSON": (lambda folder: (folder / "manifest.json").write_text("{"), "no snapshot"),
    "a file is missing": (lambda folder: next(folder.glob("*.steps.npy")).unlink(), "no snapshot"),
}


@mpi.check(sizes=(1,), cases=list(DAMAGE))
def a_bad_snapshot_changes_nothing(comm, case):
    folder = shared_folder(comm)
    damage, message = DAMAGE[case]
    with pyccl.ParameterServer(comm) as ps:
        tables(ps)
        ps.push("w", numbers(BIG))
        ps.push("e", numbers(80).reshape(10, 8), ids=np.arange(10))
        ps.save(folder / "one")
        with pytest.raises(FileExistsError):
            ps.save(folder / "one")
        ps.push("w", numbers(BIG))
        w, rows = ps.pull("w"), ps.pull("e", ids=np.arange(10))
        damage(folder / "one")
        with pytest.raises(pyccl.ConfigError, match=message):
            ps.load(folder / "one")
        np.testing.assert_array_equal(ps.pull("w"), w)
        np.testing.assert_array_equal(ps.pull("e", ids=np.arange(10)), rows)
    assert [path.name for path in folder.iterdir()] == ["one"]
    shutil.rmtree(folder)


test_mpi = mpi.checks(globals())
