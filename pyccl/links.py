"""Stream sockets between the ranks of several nodes, by which they learn of each other's end.

Every rank is linked with the lowest of its node, and those with each other. A process that ends closes its links; a
host that vanishes leaves the kernel's keepalives unanswered. The kernel answers them, so a rank that computes, or is
stopped, is not taken for dead. Nothing else travels here, and nobody listens once all are connected.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import logging
import secrets
import selectors
import socket
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pyccl.bootstrap import Bootstrap

__all__ = ["connect", "neighbours"]

log = logging.getLogger("pyccl")
_RECORD = struct.Struct("<16s16sHB64s")  # secret, host, port, number of addresses, 16 IPv4 addresses
_HELLO = struct.Struct("<16sii")  # secret, from, to
_PATIENCE = 10.0  # seconds until all links must stand
_ATTEMPT = 2.0  # seconds for one address, or one visitor
_VISITORS = 64  # who may be on the doorstep at once; the oldest go first
_IDLE, _INTERVAL, _PROBES = 3, 1, 5  # seconds of silence until the first keepalive, between them, and how many
_SIOCGIFADDR = 0x8915


@dataclass(frozen=True)
class _Place:
    """Where a rank can be reached."""

    secret: bytes
    host: bytes
    port: int
    addresses: tuple[str, ...]


def connect(bootstrap: Bootstrap, peers: Sequence[int]) -> list[tuple[int, int]]:
    """Return rank and descriptor of every link of this rank, to `peers`; the caller owns the descriptors. Collective.

    Whom a rank names names it, too. A link that cannot be made is warned about: a death at its other end then shows as
    `Timeout` only.
    """
    rank = bootstrap.rank
    expected = {peer for peer in peers if peer > rank}
    here = _host()
    hosts = bootstrap.allgather(here)
    near = all(hosts[peer] == here for peer in expected)
    with socket.socket() as server:
        # closed again in a moment; visitors without the secret are turned away
        server.bind(("127.0.0.1" if near else "", 0))
        if expected:
            server.listen(len(peers) + _VISITORS)
        places = [_unpack(data) for data in bootstrap.allgather(_pack(server.getsockname()[1]))]
        secret = places[0].secret
        found: dict[int, socket.socket] = {}
        door = threading.Thread(target=_accept, args=(server, secret, rank, expected, found), daemon=True)
        door.start()
        made = {peer: _reach(places[peer], places[rank], secret, rank, peer) for peer in peers if peer < rank}
        door.join()
    links = {**found, **{peer: link for peer, link in made.items() if link is not None}}
    for peer in sorted(set(peers) - set(links)):
        log.warning("rank %d has no TCP link to rank %d: a death there will show as a timeout", rank, peer)
    for link in links.values():
        _keep_alive(link)
    return [(peer, link.detach()) for peer, link in sorted(links.items())]


def neighbours(rank: int, nodes: Sequence[int]) -> list[int]:
    """Return the ranks that `rank` is linked with.

    Examples
    --------
    >>> neighbours(0, [0, 0, 1, 1]), neighbours(1, [0, 0, 1, 1])
    ([1, 2], [0])
    """
    leaders = [list(nodes).index(node) for node in sorted(set(nodes))]
    leader = list(nodes).index(nodes[rank])
    if rank != leader:
        return [leader]
    node = {r for r, other in enumerate(nodes) if other == nodes[rank]}
    return sorted((node | set(leaders)) - {rank})


def _pack(port: int) -> bytes:
    addresses = _addresses()[:16]
    packed = b"".join(socket.inet_aton(address) for address in addresses)
    return _RECORD.pack(secrets.token_bytes(16), _host(), port, len(addresses), packed)


def _unpack(data: bytes) -> _Place:
    secret, host, port, count, packed = _RECORD.unpack(data)
    addresses = tuple(socket.inet_ntoa(packed[4 * i : 4 * i + 4]) for i in range(min(count, 16)))
    return _Place(secret, host, port, addresses)


def _host() -> bytes:
    """Return what the processes share that reach each other by the loopback interface."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    return hashlib.sha256(f"{boot} {Path('/proc/self/ns/net').stat().st_ino}".encode()).digest()[:16]


def _addresses() -> list[str]:
    """Return this host's IPv4 addresses but the loopback one."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                reply = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # an interface without an address
            address = socket.inet_ntoa(reply[20:24])
            if not address.startswith("127."):
                found.append(address)
    return found


def _answer(secret: bytes) -> bytes:
    return hashlib.sha256(secret + b"welcome").digest()[:16]


def _exactly(link: socket.socket, count: int) -> bytes:
    """Receive `count` bytes, all of them within the time limit of the socket."""
    end = time.monotonic() + (link.gettimeout() or 0)
    data = b""
    while len(data) < count:
        link.settimeout(max(1e-3, end - time.monotonic()))
        more = link.recv(count - len(data))
        if not more:
            raise OSError("the link has ended")
        data += more
    return data


def _reach(there: _Place, here: _Place, secret: bytes, rank: int, peer: int) -> socket.socket | None:
    addresses = ("127.0.0.1",) if there.host == here.host else there.addresses
    end = time.monotonic() + _PATIENCE
    for address in addresses:
        patience = min(_ATTEMPT if len(addresses) > 1 else _PATIENCE, end - time.monotonic())
        if patience <= 0:
            break
        try:
            link = socket.create_connection((address, there.port), timeout=patience)
        except OSError:
            continue
        try:
            link.settimeout(_PATIENCE)
            link.sendall(_HELLO.pack(secret, rank, peer))
            if hmac.compare_digest(_exactly(link, 16), _answer(secret)):
                return link
        except OSError:
            pass
        link.close()
    return None


def _accept(
    server: socket.socket, secret: bytes, rank: int, expected: set[int], found: dict[int, socket.socket]
) -> None:
    """Let in who is expected and knows the secret; visitors who are slow to say it keep nobody waiting."""
    end = time.monotonic() + _PATIENCE
    server.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        visitors: dict[socket.socket, tuple[float, bytes]] = {}  # since when, and what they have said so far
        while expected - set(found) and time.monotonic() < end:
            for key, _ in selector.select(0.1):
                if key.fileobj is server:
                    _open(server, selector, visitors)
                elif _heard(link := cast("socket.socket", key.fileobj), visitors):
                    selector.unregister(link)
                    _welcome(link, visitors.pop(link)[1], secret, rank, expected, found)
            late = [link for link, (since, _) in visitors.items() if time.monotonic() - since > _ATTEMPT]
            for link in late + list(visitors)[: max(0, len(visitors) - _VISITORS)]:
                if visitors.pop(link, None):
                    selector.unregister(link)
                    link.close()
        for link in visitors:
            link.close()


def _open(
    server: socket.socket, selector: selectors.BaseSelector, visitors: dict[socket.socket, tuple[float, bytes]]
) -> None:
    with contextlib.suppress(OSError):
        link, _ = server.accept()
        link.setblocking(False)
        selector.register(link, selectors.EVENT_READ)
        visitors[link] = time.monotonic(), b""


def _heard(link: socket.socket, visitors: dict[socket.socket, tuple[float, bytes]]) -> bool:
    """Return whether a visitor has said all, or ended."""
    since, said = visitors[link]
    try:
        more = link.recv(_HELLO.size - len(said))
    except BlockingIOError:
        return False
    except OSError:
        more = b""
    visitors[link] = since, said + more
    return not more or len(said + more) == _HELLO.size


def _welcome(
    link: socket.socket, hello: bytes, secret: bytes, rank: int, expected: set[int], found: dict[int, socket.socket]
) -> None:
    with contextlib.suppress(OSError, struct.error):
        said, source, target = _HELLO.unpack(hello)
        if hmac.compare_digest(said, secret) and source in expected and source not in found and target == rank:
            link.sendall(_answer(secret))  # 16 bytes fit the buffer of a new socket
            found[source] = link
            return
    link.close()


def _keep_alive(link: socket.socket) -> None:
    link.setblocking(True)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _INTERVAL)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * (_IDLE + _INTERVAL * _PROBES))
