"""Rank program of test_mpi_transport.py: the transport on the standard ABI of MPI 5, without mpi4py.

`mpi_abi.py libmpi_abi.so`. The handles' values are those that the standard lays down.
"""

from __future__ import annotations

import ctypes
import sys

from pyccl import _core

path = sys.argv[1]
mpi = ctypes.CDLL(path)
comm, errors_return, null_request, byte = (ctypes.c_void_p(value) for value in (0x101, 0x143, 0x180, 0x247))
rank, size = ctypes.c_int(), ctypes.c_int()
assert mpi.MPI_Init_thread(None, None, 0, ctypes.byref(rank)) == 0
assert mpi.MPI_Comm_set_errhandler(comm, errors_return) == 0
assert mpi.MPI_Comm_rank(comm, ctypes.byref(rank)) == 0
assert mpi.MPI_Comm_size(comm, ctypes.byref(size)) == 0

remote = _core.MpiRemote(
    library=path,
    handle_bytes=ctypes.sizeof(comm),
    communicator=ctypes.addressof(comm),
    byte=ctypes.addressof(byte),
    null_request=ctypes.addressof(null_request),
    size=size.value,
    max_message=1000,
)
right, left = (rank.value + 1) % size.value, (rank.value - 1) % size.value
data, got = (ctypes.c_char * 4321)(*[b"%d" % rank.value] * 4321), (ctypes.c_char * 4321)()
requests = [
    remote.recv(ctypes.addressof(got), 4321, left, 1),
    remote.send(ctypes.addressof(data), 4321, right, 1),
]
while requests:
    requests = [request for request in requests if not remote.test(request)]
assert got.raw == b"%d" % left * 4321
assert mpi.MPI_Finalize() == 0
