"""Two processes, of which one is killed while an array of both is registered. Run by test_register_memory.py."""

from __future__ import annotations

import os
import signal
import socket

import numpy as np
import pytest

import pyccl
from tests.pages import moved


class Pair:
    """Two processes and a socket."""

    def __init__(self, rank: int, end: socket.socket) -> None:
        self.rank, self.size, self._end = rank, 2, end

    def allgather(self, data: bytes) -> list[bytes]:
        self._end.sendall(len(data).to_bytes(8, "little") + data)
        other = self._take(int.from_bytes(self._take(8), "little"))
        return [data, other] if self.rank == 0 else [other, data]

    def _take(self, nbytes: int) -> bytes:
        got = b""
        while len(got) < nbytes:
            got += self._end.recv(nbytes - len(got))
        return got

    def barrier(self) -> None:
        self.allgather(b"")

    def split(self, color: int | None, key: int) -> None:
        return None

    def remote(self) -> None:
        return None

    def close(self) -> None:
        self._end.close()


ends = socket.socketpair()
child = os.fork()
rank = int(child == 0)
comm = pyccl.Communicator.from_bootstrap(Pair(rank, ends[rank]), timeout=20)
x, late = np.ones(100_000), np.arange(5000)
handle = comm.register(x)
comm.all_reduce(x, out=x)
if rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
for call in (lambda: comm.register(late), lambda: comm.all_reduce(x, out=x)):
    with pytest.raises(pyccl.PeerLost, match="rank 1 died"):
        call()
assert (late == np.arange(5000)).all()
assert moved(late) == 0
assert (x == 2).all()
x += 1
handle.close()
assert (x == 3).all()
assert moved(x) == 0
os.waitpid(child, 0)
