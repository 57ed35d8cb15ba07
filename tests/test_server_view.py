"""Who lives and who has which shard, before and after deaths."""

from __future__ import annotations

import numpy as np

import pyccl
from pyccl import optim
from tests import mpi
from tests.processes import KILLED, run


@mpi.check(sizes=(1, 3), cases=[0, 1, 2])
def all_live_at_first(comm, copies):
    if copies >= comm.size:
        return
    ranks = tuple(range(comm.size))
    with pyccl.ParameterServer(comm, replicas=copies) as ps:
        ps.table("w", init=np.zeros(9, np.float32), optimizer=optim.SGD(1.0))
        view = ps.view()
        assert view[:4] == (1, 0, ranks, ranks)
        assert view.replicas == tuple(tuple((s + 1 + i) % comm.size for i in range(copies)) for s in ranks)
        comm.barrier()


test_mpi = mpi.checks(globals())


def test_the_term_rises_with_every_death_and_the_next_rank_leads() -> None:
    ended = run(
        """
        comm = start()
        ps = pyccl.ParameterServer(comm, replicas=1)
        ps.table("w", init=np.zeros(8, np.float32), optimizer=pyccl.optim.SGD(1.0))
        ps.push("w", -np.ones(8, np.float32))
        comm.barrier()
        if rank < 2:
            time.sleep(0.3 + rank)    # one after the other
            die()
        seen = [ps.view()]
        end = time.monotonic() + 8
        while seen[-1].term < 3 and time.monotonic() < end:
            ps.push("w", np.zeros(8, np.float32))
            if (view := ps.view()).term > seen[-1].term:
                seen.append(view)
        print(ps.pull("w").sum(), [(v.term, v.leader, v.living, v.owners) for v in seen])
        os._exit(0)
        """,
        4,
    )
    assert [rank.returncode for rank in ended] == [KILLED, KILLED, 0, 0], ended
    views = [(1, 0, (0, 1, 2, 3), (0, 1, 2, 3)), (2, 1, (1, 2, 3), (1, 1, 2, 3)), (3, 2, (2, 3), (2, 2, 2, 3))]
    for rank in ended[2:]:
        assert rank.stdout.strip() == f"32.0 {views}"
