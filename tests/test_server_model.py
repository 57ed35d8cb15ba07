"""Any sequence of requests does what a model in NumPy does."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import pyccl
from pyccl import initializers, optim
from tests import mpi

COUNT, DIM = 40_000, 3  # three pieces
NEAR = st.integers(0, 12)
IDS = st.lists(st.one_of(NEAR, NEAR.map(lambda k: 2**63 - 1 - k), NEAR.map(lambda k: 2**31 + k)), max_size=20)
POLICIES = [pyccl.Async(), pyccl.Sync(), pyccl.SSP(2), pyccl.FedBuff(1), pyccl.KAsync(1), pyccl.Async(3, "wait")]
HOW = optim.AdamW(0.125, betas=(0.5, 0.75), weight_decay=0.25)


class Rows:
    """A sparse table as a dictionary."""

    def __init__(self, start: initializers.Initializer) -> None:
        self.start = start
        self.rows: dict[int, tuple[np.ndarray, list[np.ndarray], int]] = {}

    def row(self, key: int) -> np.ndarray:
        if key in self.rows:
            return self.rows[key][0]
        return self.start.rows("e", np.array([key]), DIM)[0]

    def push(self, ids: list[int], rows: np.ndarray) -> None:
        for key in dict.fromkeys(ids):
            total = rows[[k == key for k in ids]].astype(np.float64).sum(0).astype(np.float32)
            values, state, steps = self.rows.get(
                key, (self.row(key).copy(), [np.zeros(DIM, np.float32) for _ in range(HOW.slots)], 0)
            )
            HOW.step(values, state, total, steps + 1)
            self.rows[key] = (values, state, steps + 1)

    def copy(self) -> Rows:
        other = Rows(self.start)
        other.rows = {k: (v.copy(), [s.copy() for s in state], n) for k, (v, state, n) in self.rows.items()}
        return other


class Model(RuleBasedStateMachine):
    comm: Any = None

    @initialize(policy=st.sampled_from(POLICIES))
    def begin(self, policy: pyccl.policy.Policy) -> None:
        sparse = policy if isinstance(policy, (pyccl.Async, pyccl.SSP)) else pyccl.Async()
        start = initializers.Uniform(-1, 1, seed=4)
        self.ps = pyccl.ParameterServer(self.comm, consistency=policy)
        self.w = np.linspace(-1, 1, COUNT, dtype=np.float32)
        self.ps.table("w", init=self.w, optimizer=HOW)
        self.ps.table("e", sparse=True, dim=DIM, init=start, optimizer=HOW, consistency=sparse)
        self.w, self.state = self.w.copy(), [np.zeros(COUNT, np.float32) for _ in range(HOW.slots)]
        self.steps, self.rows = 0, Rows(start)
        self.saved: Any = None
        self.folder = Path(tempfile.mkdtemp(prefix="model"))

    def step(self, seed: int) -> np.ndarray:
        gradient = np.random.default_rng(seed).integers(-8, 9, COUNT).astype(np.float32)
        self.steps += 1
        HOW.step(self.w, self.state, gradient, self.steps)
        return gradient

    @rule(seed=st.integers(0, 99), wait=st.booleans())
    def push(self, seed: int, wait: bool) -> None:
        work = self.ps.push_async("w", self.step(seed))
        if wait:
            work.wait()
            assert work.done()

    @rule(seed=st.integers(0, 99))
    def push_pull(self, seed: int) -> None:
        gradient = self.step(seed)
        np.testing.assert_array_equal(self.ps.push_pull("w", gradient, out=gradient), self.w)

    @rule()
    def pull(self) -> None:
        np.testing.assert_array_equal(self.ps.pull("w"), self.w)

    @rule(ids=IDS, seed=st.integers(0, 99))
    def push_rows(self, ids: list[int], seed: int) -> None:
        rows = np.random.default_rng(seed).standard_normal((len(ids), DIM)).astype(np.float32)
        self.ps.push("e", rows, ids=ids)
        self.rows.push(ids, rows)

    @rule(ids=IDS)
    def pull_rows(self, ids: list[int]) -> None:
        expected = np.array([self.rows.row(key) for key in ids], np.float32).reshape(-1, DIM)
        np.testing.assert_array_equal(self.ps.pull("e", ids=ids), expected)

    @rule()
    def clock(self) -> None:
        self.ps.clock()

    @rule()
    def save(self) -> None:
        shutil.rmtree(self.folder / "one", ignore_errors=True)
        self.ps.save(self.folder / "one")
        self.saved = (self.w.copy(), [s.copy() for s in self.state], self.steps, self.rows.copy())

    @precondition(lambda self: getattr(self, "saved", None) is not None)
    @rule()
    def load(self) -> None:
        self.ps.load(self.folder / "one")
        w, state, self.steps, rows = self.saved
        self.w, self.state = w.copy(), [s.copy() for s in state]
        # Rows that the snapshot does not know stay as they are.
        self.rows.rows.update(rows.copy().rows)

    @invariant()
    def the_server_is_well(self) -> None:
        if hasattr(self, "ps"):
            assert not self.ps._endpoint.failure()

    def teardown(self) -> None:
        if hasattr(self, "ps"):
            self.ps.close()
            shutil.rmtree(self.folder)


@mpi.check(sizes=(1,))
def any_sequence_of_requests(comm: pyccl.Communicator) -> None:
    Model.comm = comm
    few = settings(max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Model, settings=few)


test_mpi = mpi.checks(globals())
