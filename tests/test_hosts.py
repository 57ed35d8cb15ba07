"""Several hosts: separate network stacks, links of finite and unequal rate, a cable that is pulled."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import pyccl
from tests import mpi, testbed
from tests.calls import failures
from tests.test_mpi_collectives import moves

CABLE = Path(__file__).parent / "workers" / "cable.py"
GRACE = 8.0  # seconds after a deadline until every rank must have raised; 16 processes share the cores
pytestmark = [pytest.mark.mpi, pytest.mark.hosts]


@functools.cache
def reason() -> str:
    return testbed.missing()


@contextmanager
def hosts(number: int, rate: str = "1gbit") -> Iterator[testbed.Testbed]:
    if reason():
        pytest.skip(reason())
    with testbed.Testbed(number, rate) as bed:
        yield bed


@mpi.check(sizes=range(1, 17))
def every_collective_agrees_with_the_oracle(comm: pyccl.Communicator) -> None:
    wrong = failures(comm, moves(comm.size))
    assert not wrong, "\n".join(wrong[:10])


@mpi.check(sizes=range(1, 17))
def large_vectors_arrive(comm: pyccl.Communicator) -> None:
    x = np.arange(300_001, dtype=np.int64)
    for _ in range(3):
        got = comm.all_reduce(x * (comm.rank + 1))
        assert np.array_equal(got, x * (comm.size * (comm.size + 1) // 2))
    got = comm.all_gather(x[:50_000] + comm.rank)
    assert np.array_equal(got.reshape(comm.size, -1), x[:50_000] + np.arange(comm.size)[:, None])


@mpi.check(sizes=range(1, 17))
def ranks_of_a_host_share_memory_and_others_do_not(comm: pyccl.Communicator) -> None:
    import os

    names = comm.all_gather(np.frombuffer(os.uname().nodename.encode().ljust(16), np.uint8).copy()).reshape(-1, 16)
    same = [bytes(a) == bytes(names[comm.rank]) for a in names]
    assert same == [node == comm.nodes[comm.rank] for node in comm.nodes]


@pytest.mark.parametrize(("number", "ranks", "slow"), [(2, 1, ""), (2, 4, ""), (3, 1, "100mbit"), (4, 2, "100mbit")])
def test_collectives(number: int, ranks: int, slow: str, tmp_path: Path) -> None:
    size = number * ranks
    with hosts(number) as bed:
        if slow:
            bed.rate(1, slow)
        program = ["-m", "tests.mpi_worker", "tests.test_hosts", str(tmp_path)]
        links = "*=1 Gbit/s,host1=100 Mbit/s" if slow else "equal"
        env = {"PYCCL_TIMEOUT": "30", "PYCCL_LINKS": links}
        run = bed.run(program, ranks, timeout=90, env=env, check=False)
    results = mpi.results(tmp_path)
    wanted = [(name, rank) for name in mpi.expand(globals(), size) for rank in range(size)]
    failed = [
        f"rank {key[1]}, {key[0]}: {results.get(key, 'not finished')}" for key in wanted if results.get(key) != ""
    ]
    assert not failed, "\n".join([*failed, str(run)])
    assert run.returncode == 0, run


def at_work(bed: testbed.Testbed, folder: Path, seconds: float, timeout: float) -> threading.Thread:
    """Start two ranks a host; return when they have had their first results."""
    program = [str(CABLE), str(folder), str(seconds), str(timeout)]
    # A run whose cable stays cut ends at its deadline: the launcher has lost its own connection, too.
    options = {"timeout": seconds + timeout + 25, "check": False}
    thread = threading.Thread(target=lambda: bed.run(program, 2, **options))  # type: ignore[arg-type]
    thread.start()
    wait_for_start(folder, thread)
    return thread


def wait_for_start(folder: Path, thread: threading.Thread) -> None:
    until = time.monotonic() + 40
    while not (folder / "started").exists() and thread.is_alive() and time.monotonic() < until:
        time.sleep(0.02)


def written(folder: Path, ranks: int, seconds: float) -> list[str]:
    """Return what the ranks have written, as soon as all have."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        texts = [path.read_text() for path in (folder / str(r) for r in range(ranks)) if path.exists()]
        if len(texts) == ranks and all(texts):
            return texts
        time.sleep(0.05)
    raise AssertionError(f"only {sorted(path.name for path in folder.iterdir())} have come to an end")


def test_a_cut_cable_that_is_mended_costs_time_only(tmp_path: Path) -> None:
    with hosts(3, "200mbit") as bed:
        thread = at_work(bed, tmp_path, seconds=4, timeout=30)
        bed.cut(1)
        time.sleep(1)
        bed.mend(1)
        texts = written(tmp_path, 6, 30)
        thread.join()
    assert texts == ["ok"] * 6


def test_a_cable_that_stays_cut_raises_at_the_deadline(tmp_path: Path) -> None:
    timeout = 3.0
    with hosts(3, "200mbit") as bed:
        thread = at_work(bed, tmp_path, seconds=60, timeout=timeout)
        bed.cut(1)
        began = time.time()
        try:
            texts = written(tmp_path, 6, timeout + GRACE)
        finally:
            bed.down()  # ends the ranks, and with them the thread's run
            thread.join()
    for text in texts:
        name, when, again = text.split()
        assert name in ("Timeout", "PeerLost"), texts
        assert float(when) - began < timeout + GRACE, texts
        assert float(again) < 1.0, "a broken communicator must say so at once"
