"""The leader: views with terms, requests that went by an old one, and deaths of those who decide."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest

import pyccl
from pyccl import initializers, optim
from tests import mpi
from tests.processes import KILLED, run
from tests.server_nemesis.play import play
from tests.server_nemesis.trial import Fault, Trial

# The victims die one after the other while the rest pushes ones; each tells the views that it saw, and the sum.
_DIE_IN_TURN = """
import json
comm = start()
order, servers = eval(sys.argv[4]), eval(sys.argv[5])
ps = pyccl.ParameterServer(comm, servers=servers, replicas=1)
ps.table("w", init=np.zeros(8, np.float32), optimizer=pyccl.optim.SGD(1.0))
comm.barrier()
if rank in order:
    time.sleep(0.3 + 0.7 * order.index(rank))
    die()
if rank not in ps.workers:
    with ps.serve():
        pass
    os._exit(0)
seen, pushes, end = [ps.view()], 0, time.monotonic() + 20
while seen[-1].term <= len(order) and time.monotonic() < end:
    ps.push("w", -np.ones(8, np.float32))
    pushes += 1
    view = ps.view()
    if view.term > seen[-1].term:
        seen.append(view)
    assert view[:4] == seen[-1][:4]    # of one term there is one view
for work in [ps.push_async("w", -np.ones(8, np.float32)) for _ in range(10)]:
    work.wait()
ps.finish()
path = sys.argv[1] + "/done"
with open(f"{path}{rank}.new", "w") as file:
    file.write(str(pushes + 10))
os.rename(f"{path}{rank}.new", f"{path}{rank}")
others = [other for other in ps.workers if other not in order]
while not all(os.path.exists(f"{path}{other}") for other in others):
    time.sleep(1e-3)
expected = sum(int(open(f"{path}{other}").read()) for other in others)
terms = [one["term"] for one in ps.stats() if one["alive"]]
print(json.dumps([[view[:4] for view in seen], terms, expected, ps.pull("w").tolist()]))
time.sleep(0.3)    # os._exit is a death, too
os._exit(0)
"""


def die_in_turn(size: int, order: tuple[int, ...], servers: str = "'colocated'") -> list[Any]:
    ended = run(_DIE_IN_TURN, size, arguments=[repr(order), servers])
    assert [one.returncode for one in ended] == [KILLED if rank in order else 0 for rank in range(size)], ended
    told = [json.loads(one.stdout) for one in ended if one.stdout]
    for _, terms, expected, found in told:
        assert found == [expected] * 8
        assert set(terms) == {len(order) + 1}
    return told


@pytest.mark.parametrize(("order", "leaders"), [((0, 2), (0, 1, 1)), ((3, 1), (0, 0, 0)), ((0, 1), (0, 1, 2))])
def test_the_term_rises_by_one_with_every_death_and_the_lowest_living_rank_leads(order: Any, leaders: Any) -> None:
    expected = []
    for term, leader in enumerate(leaders, 1):
        living = [rank for rank in range(5) if rank not in order[: term - 1]]
        owners = [next(rank % 5 for rank in range(shard, shard + 5) if rank % 5 in living) for shard in range(5)]
        expected.append([term, leader, living, owners])
    told = die_in_turn(5, order)
    assert len(told) == 3
    assert all(views == expected for views, *_ in told)


def test_of_dedicated_servers_the_lowest_leads() -> None:
    """A worker may compute for an hour; a server has a thread that looks."""
    ((views, *_),) = die_in_turn(4, (1,), "[1, 2, 3]")
    assert [view[:2] for view in views] == [[1, 1], [2, 2]]


@pytest.mark.parametrize("delay", [0.0, 1e-3, 4e-3])
@pytest.mark.parametrize("policy", ["Async()", "SSP(2)"])
def test_the_leader_dies_while_it_has_a_death_to_tell(policy: str, delay: float) -> None:
    kills = [Fault("kill", 2, 0.3, 0.0), Fault("kill", 0, 0.3, delay)]
    assert play(Trial(0, 4, [], 2, policy, 20, 400, 1, kills)) == []


def test_the_leader_dies_between_writing_a_view_and_publishing_it() -> None:
    ended = run(
        """
        from pyccl import _core
        comm = start()
        ps = pyccl.ParameterServer(comm, replicas=2)
        ps.table("w", init=np.zeros(70_000, np.float32), optimizer=pyccl.optim.SGD(1.0))
        if rank == 0:
            _core.ServerEndpoint.crash_at("leading", 1)
        comm.barrier()
        if rank == 0:
            time.sleep(20)
        if rank == 3:
            die()
        for _ in range(50):
            ps.push("w", -np.ones(70_000, np.float32))
        open(f"{sys.argv[1]}/done{rank}", "w").close()
        while not all(os.path.exists(f"{sys.argv[1]}/done{other}") for other in (1, 2)):
            time.sleep(1e-3)
        end = time.monotonic() + 10
        while len(ps.view().living) > 2 and time.monotonic() < end:
            time.sleep(0.01)
        print(np.unique(ps.pull("w")).tolist(), ps.view()[1:3])
        time.sleep(0.3)
        os._exit(0)
        """,
        4,
    )
    assert [one.returncode for one in ended] == [KILLED, 0, 0, KILLED], ended
    assert [one.stdout for one in ended[1:3]] == ["[100.0] (1, (1, 2))\n"] * 2, ended


def test_a_leader_that_is_stopped_does_not_hold_up_the_others() -> None:
    """Whoever publishes instead leads; what the stopped one would say is of a term that has passed."""
    ended = run(
        """
        comm = start()
        ps = pyccl.ParameterServer(comm, replicas=1, servers=[0, 1, 2, 3])
        ps.table("w", init=np.zeros(8, np.float32), optimizer=pyccl.optim.SGD(1.0))
        open(f"{sys.argv[1]}/{rank}.pid", "w").write(str(os.getpid()))
        comm.barrier()
        if rank < 4:
            if rank == 1:
                time.sleep(0.3)
                die()
            with ps.serve():
                pass
            os._exit(0)
        leader = int(open(f"{sys.argv[1]}/0.pid").read())
        os.kill(leader, signal.SIGSTOP)
        end = time.monotonic() + 10
        while ps.view().term < 2 and time.monotonic() < end:
            time.sleep(0.01)
        first = ps.view()
        os.kill(leader, signal.SIGCONT)
        ps.push("w", -np.ones(8, np.float32))
        time.sleep(0.3)
        assert ps.view() == first or ps.view()[:4] == first[:4]
        print(first.term, first.leader in (2, 3, 4), first.living, first.owners, ps.pull("w").tolist() == [1.0] * 8)
        ps.close()
        os._exit(0)
        """,
        5,
    )
    assert [one.returncode for one in ended] == [0, KILLED, 0, 0, 0], ended
    assert ended[4].stdout == "2 True (0, 2, 3, 4) (0, 2, 2, 3) True\n", ended


@mpi.check(sizes=(3,), cases=["Async()", "SSP(2)", "Sync()"])
def a_request_by_an_old_view_is_sent_back_and_done_once(comm: pyccl.Communicator, policy: str) -> None:
    with pyccl.ParameterServer(comm, replicas=1, consistency=eval(f"pyccl.{policy}")) as ps:
        ps.table("w", init=np.zeros(200_000, np.float32), optimizer=optim.SGD(1.0))
        ps.table("rows", sparse=True, dim=2, init=initializers.Zeros(), optimizer=optim.SGD(1.0))
        out, ids = np.empty(200_000, np.float32), np.arange(30)
        for _ in range(6):
            for shard in range(3):  # as if the replica owned it: a server that lives, and is none of its owners
                ps._endpoint.mistake(shard, (shard + 1) % 3, 0)
            ps.pull("w", out=out)
            work = ps.push_async("w", np.full(200_000, -1, np.float32))
            ps.push("rows", np.full((30, 2), -1, np.float32), ids=ids)
            ps.clock()
            work.wait()
            for shard in range(3):
                ps._endpoint.mistake(shard, (shard + 1) % 3, 0)
            ps.push_pull("w", np.full(200_000, -1, np.float32), out=out)
            ps.pull("rows", ids=ids)
            ps.clock()
        ps.finish()
        comm.barrier()
        assert (ps.pull("w") == (12 if policy == "Sync()" else 36)).all()
        assert (ps.pull("rows", ids=ids) == (6 if policy == "Sync()" else 18)).all()
        assert all(one["moved"] > 0 for one in ps.stats())
        assert ps.view().term == 1
        comm.barrier()


@mpi.check(sizes=(3,))
def a_request_by_a_newer_view_waits_until_its_server_has_that(comm: pyccl.Communicator) -> None:
    ps = pyccl.ParameterServer(comm, servers=1)
    ps.table("w", init=np.zeros(8, np.float32), optimizer=optim.SGD(1.0))
    if comm.rank == 1:  # whose end makes the second view
        comm.barrier()
        ps._endpoint.leave()
        ps._endpoint.close_client()
        ps._endpoint.stop()
    elif comm.rank == 0:
        ps._endpoint.mistake(0, 0, 2)
        work = ps.push_async("w", -np.ones(8, np.float32))
        with pytest.raises(pyccl.Timeout):
            work.wait(timeout=0.5)
        comm.barrier()
        work.wait()
        end = time.monotonic() + 5
        while ps.view().term < 2 and time.monotonic() < end:  # over several nodes the server may have heard first
            time.sleep(0.01)
        assert ps.view()[:3] == (2, 2, (0, 2))
        assert ps.pull("w").tolist() == [1.0] * 8
        ps.close()
    else:
        comm.barrier()
        with ps.serve():
            pass
        ps.close()
    comm.barrier()


test_mpi = mpi.checks(globals())


@pytest.mark.mpi
@pytest.mark.parametrize("policy", ["Async()", "SSP(2)", "Sync()"])
def test_the_leader_dies_under_mpi(policy: str) -> None:
    mpi.launcher()
    assert play(Trial(0, 4, [], 1, policy, 300, 100, 1, [Fault("kill", 0, 0.3, 2e-3)]), "mpi") == []
