"""Rank program of test_bootstrap.py: `bootstrap.py LAW...`, one function a law; an exception fails the job."""

from __future__ import annotations

import sys
import time

import pytest

from pyccl.bootstrap import MpiBootstrap, world_bootstrap
from pyccl.errors import CommError, Timeout

assert "mpi4py" not in sys.modules, "importing pyccl must not import mpi4py"


def world() -> MpiBootstrap:
    me = world_bootstrap(timeout=60)
    assert isinstance(me, MpiBootstrap)
    return me


def gathers() -> None:
    """Lengths differ between ranks and stand on both sides of what one MPI call carries."""
    me = world()
    assert me.thread_multiple
    for lengths in [[0, 0, 0, 0], [1, 0, 7, 3], [256] * 4, [257] * 4, [0, 300, 256, 0], [100_000, 0, 1, 256]]:
        mine = bytes([me.rank + 1]) * lengths[me.rank]
        assert me.allgather(mine) == [bytes([r + 1]) * lengths[r] for r in range(me.size)]
    me.barrier()
    me.close()


def splits() -> None:
    me = world()
    half = me.split(me.rank % 2, -me.rank)
    assert half is not None
    members = [r for r in reversed(range(me.size)) if r % 2 == me.rank % 2]
    assert half.allgather(bytes([me.rank])) == [bytes([r]) for r in members]
    assert (half.rank, half.size) == (members.index(me.rank), len(members))
    alone = me.split(None if me.rank else 5, 0)
    assert (alone is None) == (me.rank != 0)
    if alone is not None:
        assert (alone.rank, alone.size, alone.allgather(b"x"), alone.remote()) == (0, 1, [b"x"], None)
        again = alone.split(0, 0)
        assert again is not None
        assert again.allgather(b"y") == [b"y"]
        alone.close()
    half.close()
    me.close()


def remotes() -> None:
    """The transport's messages cannot meet the user's on the same communicator."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    me = MpiBootstrap(comm)
    remote = me.remote()
    assert remote is me.remote()
    assert remote is not None
    assert remote.name == "mpi"
    theirs, ours, peer = bytearray(1), bytearray(1), me.rank ^ 1
    request = comm.Irecv([theirs, MPI.BYTE], peer, 0)
    address = MPI.memory.frombuffer(ours).address
    source = MPI.memory.frombuffer(bytearray(b"o"))
    requests = [remote.recv(address, 1, peer, 0), remote.send(source.address, 1, peer, 0)]
    while requests:
        requests = [number for number in requests if not remote.test(number)]
    comm.Barrier()
    assert not request.Test()
    comm.Barrier()
    comm.Send([b"t", MPI.BYTE], peer, 0)
    request.Wait()
    assert bytes(ours + theirs) == b"ot"
    me.close()


def late() -> None:
    """A rank that does not come is a Timeout after which the bootstrap is of no use; the late one comes to no harm."""
    me = MpiBootstrap(timeout=0.3)
    if me.rank == 0:
        start = time.monotonic()
        with pytest.raises(Timeout, match=r"0\.3 s"):
            me.barrier()
        assert 0.3 <= time.monotonic() - start < 5
        with pytest.raises(CommError, match="has not finished"):
            me.allgather(b"")
    else:
        time.sleep(1)
        me.barrier()
    me.close()


if __name__ == "__main__":
    for law in sys.argv[1:]:
        globals()[law]()
