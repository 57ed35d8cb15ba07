"""What strangers and damaged peers can do on the TCP links: be turned away, or be taken for dead; never more."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyccl
from pyccl import _core, links
from pyccl.bootstrap import ThreadBootstrap
from tests import fuzz, processes

LOOPBACK = "0100007F"
WORD = struct.Struct("<Iiiii16i512s")  # magic, kind, who leaves, broken, ranks named, ranks, text
MAGIC = 0x70796863
BREAKS, LEAVES = 0, 1
PEER_LOST, ABORTED = 2, 4


def word(
    kind: int = BREAKS, broken: int = PEER_LOST, ranks: tuple[int, ...] = (1,), text: bytes = b"rank 1 died"
) -> bytes:
    return WORD.pack(MAGIC, kind, 1, broken, len(ranks), *(*ranks, *[0] * 16)[:16], text)


@contextlib.contextmanager
def listening() -> Iterator[tuple[Any, socket.socket]]:
    """Yield the core of rank 0 of two, and rank 1's end of the link between them."""
    mine, theirs = socket.socketpair()
    segment, me = _core.Segment.create(2), os.getpid()
    core = _core.Communicator(
        rank=0, size=2, nodes=[0, 0], timeout=1.0, segment=segment, node_ranks=[0, 1],
        pids=[me, me], crowded=False, spin=0.0, yields=0, remote=None, build=lambda *_: (1, []),
        links=[(1, mine.detach())],
    )  # fmt: skip
    with theirs:
        yield core, theirs
    core.close(-1.0)


def until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(1e-3)
    return condition()


def raised(core: Any) -> BaseException:
    with pytest.raises(pyccl.Error) as caught:
        core.agree_to_split(-1.0)
    return caught.value


def test_a_word_in_pieces_is_heard() -> None:
    with listening() as (core, peer):
        for byte in word(broken=ABORTED, text=b"enough"):
            peer.send(bytes([byte]))
        assert until(core.broken)
        error = raised(core)
        assert isinstance(error, pyccl.PeerAborted)
        assert (error.rank, error.reason) == (1, "enough")


@pytest.mark.parametrize("length", [0, 1, WORD.size - 1])
def test_the_end_of_a_link_is_a_death_even_within_a_word(length: int) -> None:
    with listening() as (core, peer):
        peer.sendall(word()[:length])
        peer.close()
        assert until(core.broken)
        assert core.lost() == [1]
        assert str(raised(core)).startswith("rank 1 died")


def test_a_link_that_speaks_another_language_is_closed_and_believed_no_more() -> None:
    with listening() as (core, peer):
        peer.sendall(b"GET / HTTP/1.1\r\n" * 100)
        assert until(lambda: not _writable(peer))
        assert not core.broken()
        assert core.lost() == []


def _writable(peer: socket.socket) -> bool:
    try:
        peer.send(b"x", socket.MSG_DONTWAIT)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("ranks", [(), (-1,), (2,), (2**31 - 1, -(2**31)), tuple(range(16))])
@pytest.mark.parametrize("broken", [-1, 0, PEER_LOST, ABORTED, 2**31 - 1])
def test_ranks_and_reasons_that_do_not_exist(ranks: tuple[int, ...], broken: int) -> None:
    with listening() as (core, peer):
        peer.sendall(word(broken=broken, ranks=ranks, text=b"\xff" * 512))
        assert until(core.broken)
        assert set(core.lost()) <= {0, 1}
        assert "\ufffd" in str(raised(core))


def test_damaged_words(request: pytest.FixtureRequest) -> None:
    """Whatever arrives: either nothing happens, or a documented error is raised."""

    def feed(data: bytes) -> None:
        with listening() as (core, peer):
            with contextlib.suppress(OSError):
                peer.sendall(data)
            peer.close()
            until(core.broken, 0.02)
            core.lost()
            if core.broken():
                core.agree_to_split(-1.0)

    words = [word(), word(LEAVES), word(broken=ABORTED) * 3, word() + word(LEAVES)[:100]]
    errors = (pyccl.PeerLost, pyccl.PeerAborted, pyccl.Timeout, pyccl.CommError)
    rng, end = random.Random(3), time.monotonic() + float(request.config.getoption("--fuzz-seconds"))
    while time.monotonic() < end:
        data = fuzz.damage(rng.choice(words), rng)
        with contextlib.suppress(*errors):
            feed(data)


def test_a_long_reason_in_any_script_reaches_the_peers() -> None:
    code = """
    comm = start()
    if rank == 1:
        comm.abort("ü" * 700 + "x")
    print(outcome(lambda: comm.barrier()).encode())
    """
    for ended in processes.run(code, 2):
        assert "PeerAborted" in ended.stdout, ended


def connect(attack: Callable[[tuple[str, int]], None], monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[int, int]]]:
    """Link two ranks of two nodes while somebody else calls at the door."""
    bootstraps, made, door = ThreadBootstrap.group(2), [[], []], threading.Event()
    pack = links._pack

    def packed(port: int) -> bytes:
        if threading.current_thread().name == "rank 0":
            attack(("127.0.0.1", port))
            door.set()
        else:
            assert door.wait(20)
        return pack(port)

    monkeypatch.setattr(links, "_pack", packed)

    def rank_of(rank: int) -> None:
        made[rank] = links.connect(bootstraps[rank], [1 - rank])

    ranks = [threading.Thread(target=rank_of, args=(r,), name=f"rank {r}") for r in range(2)]
    for thread in ranks:
        thread.start()
    for thread in ranks:
        thread.join(30)
    return made


def strangers(address: tuple[str, int]) -> list[socket.socket]:
    hello = struct.pack("<16sii", b"\0" * 16, 1, 0)
    said = [b"", b"\0", hello, hello[:-1], os.urandom(24), b"x" * 5000, struct.pack("<16sii", b"", -1, 2**31 - 1)]
    made = []
    for words in said * 2:
        link = socket.create_connection(address, timeout=5)
        link.sendall(words)
        made.append(link)
    return made


def test_strangers_who_know_no_secret_or_say_nothing_hold_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    calling: list[socket.socket] = []
    start = time.monotonic()
    made = connect(lambda address: calling.extend(strangers(address)), monkeypatch)
    try:
        assert [[peer for peer, _ in of] for of in made] == [[1], [0]]
        assert time.monotonic() - start < 2 * links._ATTEMPT
        time.sleep(0.1)
        for link in calling:
            link.settimeout(5)
            with contextlib.suppress(ConnectionError):
                assert link.recv(100) == b""  # nothing is answered
    finally:
        for link in calling:
            link.close()
        for of in made:
            for _, fd in of:
                os.close(fd)


def test_ranks_of_one_host_are_linked_by_the_loopback_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def look(address: tuple[str, int]) -> None:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        seen.extend(row[1].split(":")[0] for row in rows if int(row[1].split(":")[1], 16) == address[1])

    for of in connect(look, monkeypatch):
        for _, fd in of:
            os.close(fd)
    assert seen == [LOOPBACK]


def test_shared_memory_has_no_name_and_is_the_owners_alone() -> None:
    segment = _core.Segment.create(2)
    status = os.fstat(segment.fd)
    assert status.st_nlink == 0
    assert status.st_mode & 0o777 == 0o600
    assert "memfd:pyccl (deleted)" in str(Path(f"/proc/self/fd/{segment.fd}").readlink())
    assert not os.get_inheritable(segment.fd)
    assert np.frombuffer(segment.nonce, np.uint8).any()
