"""What a parameter server refuses: on the ranks concerned, with nothing applied, and it lives on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pyccl
from pyccl.server.flows import flow_of
from pyccl.server.placement import check_room
from tests import mpi
from tests.processes import KILLED, run


def made(comm: pyccl.Communicator, **more: Any) -> pyccl.ParameterServer:
    ps = pyccl.ParameterServer(comm, **more)
    ps.table("w", init=np.zeros((3, 4), np.float32), optimizer=pyccl.optim.SGD(1.0))
    zeros = pyccl.initializers.Zeros()
    ps.table("e", sparse=True, dim=2, init=zeros, optimizer=pyccl.optim.SGD(1.0))
    return ps


@mpi.check(sizes=(1, 3))
def bad_requests_change_nothing(comm: pyccl.Communicator) -> None:
    nan = np.full((3, 4), np.nan, np.float32)
    with made(comm) as ps:
        for error, words, call in [
            (ValueError, "no table 'v'; there are 'w', 'e'", lambda: ps.pull("v")),
            (ValueError, r"must have shape \(3, 4\)", lambda: ps.push("w", np.zeros((4, 3), np.float32))),
            (TypeError, "float32", lambda: ps.push("w", np.zeros((3, 4)))),
            (ValueError, "not finite: element 0 is nan", lambda: ps.push("w", nan)),
            (ValueError, r"negative, ids\[1\] is -5", lambda: ps.pull("e", ids=[2, -5])),
            (ValueError, r"negative, ids\[0\] is -1", lambda: ps.push("e", np.ones((1, 2), np.float32), ids=[-1])),
            (ValueError, "below 2", lambda: ps.pull("e", ids=np.array([2**63], np.uint64))),
            (ValueError, "from 0 to 2", lambda: ps.pull("e", ids=[2**64])),
            (TypeError, "integers", lambda: ps.pull("e", ids=[1.5])),
            (TypeError, "give ids", lambda: ps.pull("e")),
            (TypeError, "no ids", lambda: ps.pull("w", ids=[1])),
            (ValueError, "C-contiguous", lambda: ps.push("w", np.ones((4, 3), np.float32).T)),
            (TypeError, "byte order", lambda: ps.push("w", np.ones((3, 4), ">f4"))),
            (ValueError, "out", lambda: ps.pull("w", out=np.empty(11, np.float32))),
        ]:
            with pytest.raises(error, match=words):
                call()
        assert (ps.pull("w") == 0).all()
        ps.finish()
        with pytest.raises(pyccl.CommError, match="has finished"):
            ps.push("w", np.zeros((3, 4), np.float32))
    with pytest.raises(pyccl.CommError, match="closed"):
        ps.pull("w")


@mpi.check(sizes=(2, 3))
def a_table_that_differs_is_refused_by_all(comm: pyccl.Communicator) -> None:
    with made(comm) as ps:
        with pytest.raises(pyccl.ConfigError, match="differs between ranks"):
            ps.table("v", init=np.zeros(2 + comm.rank, np.float32), optimizer=pyccl.optim.SGD(1.0))
        ps.push("w", -np.ones((3, 4), np.float32))
        ps.finish()
        comm.barrier()
        assert (ps.pull("w") == comm.size).all()


@mpi.check(sizes=(2,), cases=[[5], [0, 0], [0, 1], [], 2, 0, "all"])
def servers_that_cannot_be(comm: pyccl.Communicator, servers: Any) -> None:
    with pytest.raises((pyccl.ConfigError, ValueError)):
        pyccl.ParameterServer(comm, servers=servers)
    comm.barrier()


test_mpi = mpi.checks(globals())


@pytest.mark.parametrize("policy", [pyccl.SSP, pyccl.BoundedDelay, pyccl.Async])
def test_a_staleness_below_0(policy: Any) -> None:
    with pytest.raises((pyccl.ConfigError, ValueError)):
        policy(-1)


@pytest.mark.parametrize(
    ("policy", "together"), [(pyccl.KAsync(2), True), (pyccl.Sync(backup=1), True), (pyccl.Sync(), False)]
)
def test_rows_whose_shards_would_choose_apart_lie_together(policy: pyccl.policy.Policy, together: bool) -> None:
    flow = flow_of(policy, pyccl.optim.SGD(1.0), sparse=True)
    assert (flow.name, flow.together) == ("buffered", together)


def test_more_servers_than_addresses_are_refused() -> None:
    check_room(256, 256, 1)
    with pytest.raises(pyccl.ConfigError, match="1000 servers and 1000 workers need 477 TiB"):
        check_room(1000, 1000, 0)


def test_without_replicas_the_lost_shards_are_named_and_others_work_on() -> None:
    ended = run(
        """
        comm = start()
        ps = pyccl.ParameterServer(comm, servers=[1, 2])
        for name in ("a", "b"):    # one on each server
            ps.table(name, init=np.zeros(8, np.float32), optimizer=pyccl.optim.SGD(1.0))
        if rank == 2:
            time.sleep(0.5)
            die()
        if rank == 0:
            time.sleep(1.0)
            print(outcome(lambda: ps.pull("b")))
            ps.push("a", -np.ones(8, np.float32))
            print(ps.pull("a").sum())
            os._exit(0)    # without close()
        with ps.serve():
            pass
        """,
        3,
    )
    assert [rank.returncode for rank in ended] == [0, 0, KILLED], ended
    lost, works = ended[0].stdout.splitlines()
    assert lost.startswith("ServerLost|shard(s) 1 of 2"), lost
    assert float(lost.split("|")[2]) < 2.0
    assert works == "8.0"


def test_ctrl_c_ends_a_waiting_pull() -> None:
    ended = run(
        """
        comm = start()
        ps = pyccl.ParameterServer(comm, consistency=pyccl.SSP(0))
        ps.table("w", init=np.zeros(8, np.float32), optimizer=pyccl.optim.SGD(1.0))
        if rank == 0:
            ps.pull("w")
            ps.clock()
            threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
            print(outcome(lambda: ps.pull("w")))
        else:
            time.sleep(2.0)
        ps.close()
        """,
        2,
    )
    assert "KeyboardInterrupt" in ended[0].stdout, ended
    assert float(ended[0].stdout.split("|")[2]) < 1.0
