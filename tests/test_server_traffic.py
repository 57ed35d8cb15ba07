"""What a parameter server sends to other nodes: no list of row ids that is known there."""

from __future__ import annotations

import pytest

from tests import mpi

pytestmark = pytest.mark.mpi

_BEGIN = """
import os
import numpy as np, pyccl
comm = pyccl.init(timeout=30)
ps = pyccl.ParameterServer(comm, servers=SERVERS, replicas=len(SERVERS) - 1)
DIM, N = 2, 500
ps.table("rows", sparse=True, dim=DIM, init=pyccl.initializers.Zeros(), optimizer=pyccl.optim.SGD(1.0))
ids = np.arange(N) * 977
def spared():
    before = ps.traffic()["spared"]
    yield
    while True:
        now = ps.traffic()["spared"]
        yield now - before
        before = now
"""


def run(code: str, servers: list[int], ranks: int, **env: str) -> str:
    program = _BEGIN.replace("SERVERS", repr(servers)) + code + "\nps.close()\n"
    return mpi.mpirun(program, ranks, env={"PYCCL_NODE_SIZE": "1", **env}).stdout


def test_ids_of_a_batch_are_sent_once() -> None:
    out = run(
        """
if comm.rank == 0:
    news = spared()
    next(news)
    found = []
    for step in range(3):
        for chosen in (ids, ids[::-1].copy(), np.concatenate([ids, ids])):  # duplicates are summed before they are sent
            ps.pull("rows", ids=chosen)
            ps.push("rows", np.full((len(chosen), DIM), -1, np.float32), ids=chosen)
            found.append(next(news))
    values = ps.pull("rows", ids=ids)
    assert (values == 12).all(), values
    print(found, sum(found) + next(news) == ps.traffic()["spared"])
""",
        [1],
        2,
    )
    once, both = 8 * 500, 16 * 500
    assert out.split("\n")[0] == f"{[once, once, both] + [both] * 6} True"


def test_replicas_are_told_as_little() -> None:
    """The first server passes pushes on to the second, under the numbers of that way."""
    out = run(
        """
if comm.rank == 2:
    for step in range(5):
        ps.push("rows", np.full((N, DIM), -1, np.float32), ids=ids)
    assert (ps.pull("rows", ids=ids) == 5).all()
    ps.finish()
with ps.serve():
    pass
os.write(1, f"{comm.rank} {ps.traffic()['spared']}\\n".encode())
""",
        [0, 1],
        3,
    )
    spared = {int(line.split()[0]): int(line.split()[1]) for line in out.splitlines()}
    assert spared[0] + spared[1] == 4 * 8 * 500, out
    assert spared[2] == 5 * 8 * 500, out


def test_lists_that_are_forgotten_are_sent_again() -> None:
    """More than both ends keep, in an order that repeats some lists soon, some late, and some never."""
    out = run(
        """
if comm.rank == 0:
    random = np.random.default_rng(1)
    lists = [random.choice(100_000, random.integers(1, 4000), replace=False) for _ in range(150)]
    assert sum(map(len, lists)) * 8 > 2 << 20
    expected = np.zeros(100_000, np.float32)
    for step in range(600):
        chosen = lists[min(step % 200, 149) if step % 3 else random.integers(150)]
        ps.push("rows", np.full((len(chosen), DIM), -1, np.float32), ids=chosen)
        expected[chosen] += 1
    assert (ps.pull("rows", ids=np.arange(100_000)) == expected[:, None]).all()
    print(ps.traffic()["spared"] > 1 << 20)
""",
        [1],
        2,
    )
    assert out.split() == ["True"]
