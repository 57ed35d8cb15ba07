"""How the ranks of a parameter server come to share memory, and ranks of different nodes to hear of each other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pyccl import _core
from pyccl.errors import ConfigError
from pyccl.links import connect as connect_links
from pyccl.server.agreement import exchange

if TYPE_CHECKING:
    from pyccl.bootstrap import Bootstrap
    from pyccl.communicator import Communicator

__all__ = ["connect"]


def connect(
    comm: Communicator, servers: Sequence[int], clients: Sequence[int], replicas: int, timeout: float
) -> tuple[_core.ServerEndpoint, Bootstrap | None]:
    """Map the memory that a node shares, and link the nodes. Collective.

    Returns
    -------
    endpoint : ServerEndpoint
    apart : Bootstrap or None
        What carries its messages between nodes, to be closed after it.
    """
    first = comm.rank == comm.nodes.index(comm.nodes[comm.rank])
    requests = _core.ServerMemory.requests(comm.size, len(servers), len(clients), replicas) if first else None
    heap = _core.ServerMemory.heap() if comm.rank in servers else None
    fds = [-1 if memory is None else memory.fd for memory in (requests, heap)]
    told = exchange(comm, np.array([os.getpid(), *fds], np.int64)).tolist()
    here = [node == comm.nodes[comm.rank] for node in comm.nodes]
    apart, remote, links = _reach(comm) if not all(here) else (None, None, [])
    membership = comm._membership
    endpoint = _core.ServerEndpoint(
        rank=comm.rank,
        size=comm.size,
        servers=servers,
        clients=clients,
        replicas=replicas,
        pids=[pid for pid, _, _ in told],
        crowded=membership.crowded,
        spin=membership.spin,
        yields=membership.yields,
        requests=(told[here.index(True)][0], told[here.index(True)][1]),
        heaps=[(told[rank][0], told[rank][2] if here[rank] else -1) for rank in servers],
        timeout=timeout,
        nodes=[] if remote is None else comm.nodes,
        links=links,
        remote=remote,
    )
    comm.barrier()  # all have mapped it
    for memory in (requests, heap):
        if memory is not None:
            memory.close()
    return endpoint, apart


def _reach(comm: Communicator) -> tuple[Bootstrap, _core.Remote, list[int]]:
    """Return what carries messages to other nodes, and by rank a socket that ends with it; -1 for one of this node.

    Of messages a thread of its own takes care: all of MPI's calls elsewhere go on meanwhile.
    """
    apart = comm._bootstrap.split(0, comm.rank)
    several = exchange(comm, np.array([getattr(apart, "thread_multiple", True)], np.int64))[:, 0]
    if not several.all():
        raise ConfigError(
            "a parameter server over several nodes needs an MPI that several threads may call: "
            f"rank {int(np.argmin(several))} has been given less than MPI_THREAD_MULTIPLE"
        )
    remote = None if apart is None else apart.remote()
    if apart is None or remote is None:
        raise ConfigError("a parameter server over several nodes needs MPI")
    peers = [rank for rank, node in enumerate(comm.nodes) if node != comm.nodes[comm.rank]]
    links = dict(connect_links(apart, peers))
    missing = exchange(comm, np.array([len(peers) - len(links)], np.int64))[:, 0]
    if missing.any():
        for link in links.values():
            os.close(link)
        raise ConfigError(
            f"a parameter server over several nodes needs a TCP link between any two ranks of different nodes: "
            f"rank {int(np.argmax(missing))} has not reached {int(missing.max())} of them"
        )
    return apart, remote, [links.get(rank, -1) for rank in range(comm.size)]
