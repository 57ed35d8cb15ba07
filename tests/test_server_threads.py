"""A parameter server whose ranks are threads of one process: all it can do, where the address sanitizer sees it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pyccl
from pyccl import initializers, optim
from pyccl.server import Compensation, RowRules
from tests import ranks

COUNT, STEPS = 70_000, 6  # several pieces, the last one shorter
CASES = [
    ("Sync()", "float32"), ("Sync()", "int8"), ("Async()", "float32"), ("Async()", "float16"), ("SSP(1)", "bfloat16"),
    ("Sync(backup=1)", "float32"), ("FedBuff(2)", "int8"),
]  # fmt: skip
IDS = np.array([5, 2**62, 5, 0, 2**31, 2**63 - 1])


def train(ps: pyccl.ParameterServer) -> None:
    for step in range(STEPS):
        gradient = np.random.default_rng(step).standard_normal(COUNT).astype(np.float32)
        w = ps.pull("w") if step % 2 else ps.push_pull("w", gradient)
        assert w.shape == (COUNT,)
        ps.push("w", gradient)
        many = np.arange(step, 3000 + step) * 7  # several records
        ps.pull("e", ids=many)
        ps.push("e", np.ones((3000, 9), np.float32), ids=many)
        ps.push("e", np.ones((6, 9), np.float32), ids=IDS)
        with pytest.raises(ValueError, match=r"negative|from 0"):
            ps.push("e", np.ones((1, 9), np.float32), ids=[-1])
        ps.clock()
    ps.finish()


@pytest.mark.parametrize(("policy", "wire"), CASES)
@pytest.mark.parametrize(("size", "replicas"), [(2, 0), (3, 1)])
def test_all_that_tables_can_do(size: int, replicas: int, policy: str, wire: str, tmp_path: Path) -> None:
    def rank_of(comm: pyccl.Communicator) -> None:
        with pyccl.ParameterServer(comm, consistency=eval(f"pyccl.{policy}"), replicas=replicas) as ps:
            compensation = Compensation() if policy in ("Async()", "SSP(1)") else None
            ps.table(
                "w", init=np.zeros(COUNT, np.float32), optimizer=optim.Adam(0.1), wire=wire, compensation=compensation
            )
            ps.table(
                "e", sparse=True, dim=9, init=initializers.Normal(0, 1, seed=1), optimizer=optim.Adagrad(0.1),
                wire=wire,                consistency=pyccl.Async() if policy in ("Sync(backup=1)", "Sync()") else None,
                rules=RowRules(after=2, max_rows=2000, shared=True),
            )  # fmt: skip
            comm.barrier()
            train(ps)
            comm.barrier()
            if comm.rank == 0:
                ps.save(tmp_path / "one")
            comm.barrier()
            w, rows = ps.pull("w"), ps.pull("e", ids=IDS)
            assert np.isfinite(w).all()
            assert np.isfinite(rows).all()
            assert sum(server["applied"] for server in ps.stats()) > 0
        comm.barrier()
        with pyccl.ParameterServer(comm) as ps:
            ps.table("w", init=np.zeros(COUNT, np.float32), optimizer=optim.Adam(0.1))
            ps.table("e", sparse=True, dim=9, init=initializers.Normal(0, 1, seed=1), optimizer=optim.Adagrad(0.1))
            if comm.rank == 0:
                ps.load(tmp_path / "one")
            comm.barrier()
            np.testing.assert_array_equal(ps.pull("w"), w)

    ranks.run(size, rank_of)
