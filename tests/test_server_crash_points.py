"""kill -9 of a server at each step of a change's way (csrc/server/crash.h): nothing acknowledged is lost or doubled."""

from __future__ import annotations

import pytest

from tests.processes import KILLED, Ended, run

OWNER = ("taken", "applied", "passed on", "answered")
REPLICA = ("received", "replicated", "confirmed")
COPYING = ("handing over", "adopting", "succeeding")
TIMES = [(point, 40 if place % 2 else 1) for place, point in enumerate(OWNER + REPLICA)]
TIMES += [("applied", 1), ("passed on", 40)]
LONGEST = 4.0  # seconds of one push; the 2, and what a busy machine adds

_TRAIN = """
from pyccl import _core, initializers, optim
plan, servers, replicas = eval(sys.argv[4]), eval(sys.argv[5]), int(sys.argv[6])
comm = start()
ps = pyccl.ParameterServer(comm, servers=servers, replicas=replicas)
COUNT, STEPS = 70_000, 60    # pieces of several lengths on each server
ids = np.arange(50) * 977
ps.table("free", init=np.zeros(COUNT, np.float32), optimizer=optim.SGD(1.0))
ps.table("mean", init=np.zeros(COUNT, np.float32), optimizer=optim.SGD(1.0), consistency=pyccl.Sync())
ps.table("clock", init=np.zeros(100, np.float32), optimizer=optim.SGD(1.0), consistency=pyccl.SSP(1))
ps.table("rows", sparse=True, dim=4, init=initializers.Zeros(), optimizer=optim.SGD(1.0))
if rank in plan:
    _core.ServerEndpoint.crash_at(*plan[rank])
if rank in servers:
    with ps.serve():
        pass
    ps.close()
    os._exit(0)
longest = 0.0
for step in range(STEPS):
    begun = time.monotonic()
    ps.pull("clock")
    ps.push("free", np.full(COUNT, -1, np.float32))
    ps.push("mean", np.full(COUNT, -1, np.float32))
    ps.push("clock", np.full(100, -1, np.float32))
    ps.push("rows", np.full((50, 4), -1, np.float32), ids=ids)
    ps.clock()
    longest = max(longest, time.monotonic() - begun)
ps.finish()
path = sys.argv[1] + "/done"
open(path + str(rank), "w").close()
while not all(os.path.exists(path + str(other)) for other in ps.workers):
    time.sleep(1e-3)
workers = len(ps.workers)
for name, expected in (("free", workers * STEPS), ("mean", STEPS), ("clock", workers * STEPS)):
    found = np.unique(ps.pull(name)).tolist()
    assert found == [expected], (name, found)
assert np.unique(ps.pull("rows", ids=ids)).tolist() == [workers * STEPS]
print(longest, [server["recovery"] for server in ps.stats()])
ps.close()
os._exit(0)
"""


def check(ended: list[Ended], victims: set[int], workers: list[int]) -> None:
    codes = {rank: one.returncode for rank, one in enumerate(ended)}
    assert codes == {rank: KILLED if rank in victims else 0 for rank in codes}, ended
    for worker in workers:
        assert float(ended[worker].stdout.split()[0]) < LONGEST, ended


@pytest.mark.parametrize(("point", "times"), TIMES)
def test_one_server_dies(point: str, times: int) -> None:
    """The first server owns shard 0 and copies shard 2."""
    ended = run(_TRAIN, 5, arguments=[repr({0: (point, times)}), "[0, 1, 2]", "1"])
    check(ended, {0}, [3, 4])


@pytest.mark.parametrize("victim", [1, 2])
@pytest.mark.parametrize("point", ["passed on", "replicated"])
def test_the_middle_and_the_tail_of_a_line_die(point: str, victim: int) -> None:
    ended = run(_TRAIN, 5, arguments=[repr({victim: (point, 25)}), "[0, 1, 2]", "2"])
    check(ended, {victim}, [3, 4])


@pytest.mark.parametrize("second", [1, 3])
@pytest.mark.parametrize("point", COPYING)
def test_a_second_server_dies_while_copies_are_made(point: str, second: int) -> None:
    plan = {0: ("applied", 30), second: (point, 1)}
    ended = run(_TRAIN, 6, arguments=[repr(plan), "[0, 1, 2, 3]", "2"])
    check(ended, {0, second}, [4, 5])


@pytest.mark.parametrize("point", ["taken", "applied", "answered"])
def test_without_replicas_its_shards_are_named(point: str) -> None:
    ended = run(
        """
        from pyccl import _core
        comm = start()
        ps = pyccl.ParameterServer(comm, servers=[0, 1])
        for name in ("a", "b"):    # one on each server
            ps.table(name, init=np.zeros(8, np.float32), optimizer=pyccl.optim.SGD(1.0))
        if rank == 0:
            _core.ServerEndpoint.crash_at(sys.argv[4], 20)
        if rank < 2:
            with ps.serve():
                pass
            os._exit(0)
        print(outcome(lambda: [ps.push("a", np.ones(8, np.float32)) for _ in range(100)]))
        print(outcome(lambda: ps.pull("a")))
        for _ in range(5):
            ps.push("b", -np.ones(8, np.float32))
        ps.finish()
        path = sys.argv[1] + "/done"
        open(path + str(rank), "w").close()
        while not all(os.path.exists(path + str(other)) for other in ps.workers):
            time.sleep(1e-3)
        print(ps.pull("b").tolist() == [10.0] * 8)
        ps.close()
        os._exit(0)
        """,
        4,
        arguments=[point],
    )
    assert [one.returncode for one in ended] == [KILLED, 0, 0, 0], ended
    for worker in (2, 3):
        *lost, whole = ended[worker].stdout.splitlines()
        assert all(line.startswith("ServerLost|shard(s) 0 of 2") for line in lost), lost
        assert all(float(line.split("|")[2]) < LONGEST for line in lost), lost
        assert whole == "True"


def test_a_copy_that_is_never_finished_holds_nobody_up_at_the_end() -> None:
    """Both servers that had shard 0 die, the second while it makes a third copy: that shard is lost, no more."""
    ended = run(
        """
        from pyccl import _core
        comm = start(timeout=8.0)
        ps = pyccl.ParameterServer(comm, servers=[0, 1, 2], replicas=1)
        ps.table("w", init=np.zeros(1_200_000, np.float32), optimizer=pyccl.optim.SGD(1.0))
        if rank < 2:
            _core.ServerEndpoint.crash_at(*[("applied", 30), ("handing over", 1)][rank])
        if rank < 3:
            with ps.serve():
                pass
        else:
            print(outcome(lambda: [ps.push("w", np.ones(1_200_000, np.float32)) for _ in range(100)]))
            ps.finish()
        ps.close()
        os._exit(0)
        """,
        5,
    )
    assert [one.returncode for one in ended] == [KILLED, KILLED, 0, 0, 0], ended
    for worker in (3, 4):
        assert ended[worker].stdout.startswith("ServerLost|shard(s) 0"), ended
