"""Which ranks share a node, proved by mapping one segment, and how they should wait for each other."""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from pyccl import _core
from pyccl.arrays import NumpyArray
from pyccl.bootstrap import Bootstrap
from pyccl.config import Settings
from pyccl.launcher import launched_rank

__all__ = ["Membership", "join"]

# pid, descriptor, session, whether autogroup schedules sessions, nonce, host hint,
# affinity mask of 1,024 cores, link rate, the launcher's number
_RECORD = struct.Struct("<qii?16s16s128sdi")
_YIELDS = 64  # sched_yield calls before blocking: each lets another rank of the node run until it waits, too
_SPIN = 300e-6  # seconds; a futex wake across cores costs tens of microseconds


@dataclass(frozen=True)
class Membership:
    """The outcome of `join`.

    Attributes
    ----------
    nodes : tuple of int, shape (size,)
        Index of every rank's node; nodes are numbered by their lowest rank.
    node_ranks : tuple of int
        The ranks of my node, ascending.
    pids : tuple of int
        Their process ids.
    segment : Segment or None
        The memory that they share; None for a rank that has its node for itself.
    notes : array of uint8, or None
        The segment's pages for `pyccl.survivors`; they outlive the segment.
    cores : int
        Cores that the node's ranks may use together.
    crowded : bool
        Whether they are more than their cores.
    spin : float
        Seconds to poll before blocking.
    yields : int
        How often to yield before blocking.
    identity : str
        The same on every rank of this communicator, and of no other one.
    links : tuple of float
        Rate of each node's link in bytes/s, as `PYCCL_LINKS` has it on the node's lowest rank; 1.0 where it is unset.
    launched : tuple of int, shape (size,)
        The numbers that the launcher has given the ranks; -1 without one.
    """

    nodes: tuple[int, ...]
    node_ranks: tuple[int, ...]
    pids: tuple[int, ...]
    segment: _core.Segment | None
    notes: NumpyArray | None
    cores: int
    crowded: bool
    spin: float
    yields: int
    identity: str
    links: tuple[float, ...] = (1.0,)
    launched: tuple[int, ...] = (-1,)


def _host_hint(rank: int, settings: Settings) -> bytes:
    """Return 16 bytes that differ between hosts; equal ones are only worth a try."""
    parts = [os.uname().nodename, Path("/proc/sys/kernel/random/boot_id").read_text()]
    if settings.node_size is not None:
        parts.append(str(rank // settings.node_size))
    if settings.transport == "mpi":
        parts.append(f"rank {rank}")
    return hashlib.sha256("\n".join(parts).encode()).digest()[:16]


def _number() -> int:
    rank = launched_rank()
    return -1 if rank is None else rank


def _autogrouped() -> bool:
    """Return whether Linux schedules this process's session as one unit, so that sched_yield stays inside it."""
    try:
        if Path("/proc/sys/kernel/sched_autogroup_enabled").read_text().strip() != "1":
            return False
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if (not controllers or "cpu" in controllers.split(",")) and path != "/":
                return False
    except (OSError, ValueError):
        return False
    return True


def _link_rate(settings: Settings) -> float:
    return settings.links.get(os.uname().nodename, settings.links.get("*", 1.0))


def _affinity() -> bytes:
    mask = 0
    for core in os.sched_getaffinity(0):
        mask |= 1 << core
    return (mask & ((1 << 1024) - 1)).to_bytes(128, "little")


def join(bootstrap: Bootstrap, settings: Settings) -> Membership:
    """Find the ranks that share memory with this one. Collective; two exchanges over `bootstrap`.

    Every rank offers a segment and maps that of the lowest rank that it can: having read the right nonce there is
    the proof of sharing a node, whatever the host calls itself.
    """
    rank, size = bootstrap.rank, bootstrap.size
    if size == 1:
        cores, alone = len(os.sched_getaffinity(0)), os.urandom(16).hex()
        return Membership((0,), (0,), (os.getpid(),), None, None, cores, False, _SPIN, 0, alone)
    own = _core.Segment.create(size)
    record = _RECORD.pack(
        os.getpid(), own.fd, os.getsid(0), _autogrouped(), own.nonce, _host_hint(rank, settings), _affinity(),
        _link_rate(settings), _number(),
    )  # fmt: skip
    peers = [_RECORD.unpack(data) for data in bootstrap.allgather(record)]
    leader, segment = rank, own
    for candidate in range(rank):
        pid, fd, _, _, nonce, hint, _, _, _ = peers[candidate]
        if hint != peers[rank][5]:
            continue
        try:
            segment = _core.Segment.open(pid, fd, size, nonce)
        except (OSError, RuntimeError):
            continue
        leader = candidate
        break
    leaders = [int.from_bytes(data, "little") for data in bootstrap.allgather(leader.to_bytes(4, "little"))]
    # all have mapped; a rank whose leader follows somebody else has seen something contradictory and stays alone
    settled = [chosen if leaders[chosen] == chosen else r for r, chosen in enumerate(leaders)]
    own.close_descriptor()
    segment.close_descriptor()
    return _describe(rank, settled, peers, segment if settled[rank] == leader else own, settings)


def _describe(
    rank: int, leaders: list[int], peers: list[tuple[int, int, int, bool, bytes, bytes, bytes, float, int]],
    segment: _core.Segment, settings: Settings,
) -> Membership:  # fmt: skip
    order = sorted(set(leaders))
    node_ranks = tuple(r for r, chosen in enumerate(leaders) if chosen == leaders[rank])
    mask = 0
    for r in node_ranks:
        mask |= int.from_bytes(peers[r][6], "little")
    cores = mask.bit_count()
    sessions = {peers[r][2] for r in node_ranks}
    yielding = len(sessions) == 1 or not any(peers[r][3] for r in node_ranks)
    crowded = len(node_ranks) > cores
    spin, yields = (0.0 if crowded else _SPIN), (_YIELDS if crowded and yielding else 0)
    if settings.wait == "spin":
        crowded, spin, yields = False, 10e-3, 0
    elif settings.wait == "yield":
        yields = _YIELDS
    elif settings.wait == "block":
        spin, yields = 0.0, 0
    return Membership(
        nodes=tuple(order.index(chosen) for chosen in leaders),
        node_ranks=node_ranks,
        pids=tuple(peers[r][0] for r in node_ranks),
        segment=segment if len(node_ranks) > 1 else None,
        notes=segment.notes if len(node_ranks) > 1 else None,
        cores=cores,
        crowded=crowded,
        spin=spin,
        yields=yields,
        identity=peers[0][4].hex(),
        links=tuple(peers[leader][7] for leader in order),
        launched=tuple(peer[8] for peer in peers),
    )
