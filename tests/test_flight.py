"""The flight record, traces and reports of long waits."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import stat
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import pyccl
from pyccl.flight import FlightRecord
from pyccl.trace import merge, read_folder
from tests import mpi, ranks


def test_every_kind_of_operation_is_recorded() -> None:
    def body(comm: pyccl.Communicator) -> list[FlightRecord]:
        x = np.arange(6, dtype="f4")
        comm.all_reduce(x, "max")
        comm.broadcast(x, root=1)
        comm.barrier()
        comm.all_reduce_async(x).wait()
        comm.plan("all_gather", x[:2])()
        comm.all_to_all(np.ones(3, "i8"), send_counts=[1] * 3, recv_counts=[1] * 3)
        if comm.rank < 2:
            (comm.send if comm.rank == 0 else comm.recv)(np.ones(5, "u1"), 1 - comm.rank, tag=9)
        with comm.group():
            comm.reduce(x, root=2)
        comm.empty(10, "f8")
        with contextlib.suppress(TypeError, pyccl.PeerAborted):
            comm.all_reduce([1] if comm.rank == 0 else x)
        return comm.flight_record()

    for rank, records in enumerate(ranks.run(3, body)):
        kinds = ["all_reduce", "broadcast", "barrier", "all_reduce", "all_gather", "all_to_all"]
        kinds += {0: ["send"], 1: ["recv"], 2: []}[rank]
        kinds += ["group", "reduce", "empty", "refused" if rank == 0 else "all_reduce"]
        assert [r.kind for r in records] == kinds
        assert [r.number for r in records] == list(range(1, len(records) + 1))
        assert [r.sequence for r in records if r.kind not in ("send", "recv")] == list(range(1, 11))
        assert {r.state for r in records[:-1]} == {"done"}
        assert records[-1].state == "failed"
        first, second = records[:2]
        assert (first.op, first.dtype, first.count, first.nbytes, first.peer) == ("max", "float32", 6, 24, -1)
        assert first.algorithm
        assert (second.op, second.peer) == ("", 1)
        assert records[5].nbytes == 24
        for r in records:
            assert r.queued is not None
            assert r.start is not None
            assert r.end is not None
            assert r.queued <= r.start <= r.end <= time.monotonic()
            assert r.wall_start is not None
            assert abs(time.time() - r.wall_start) < 300
        if rank < 2:
            assert (records[6].tag, records[6].peer, records[6].nbytes, records[6].sequence) == (9, 1 - rank, 5, 1)


def test_the_ring_keeps_the_last_operations() -> None:
    def body(comm: pyccl.Communicator) -> None:
        x = np.ones(1)
        for _ in range(3000):
            comm.all_reduce(x, out=x)
        kept = comm.flight_record()
        assert [r.number for r in kept] == list(range(3000 - 256 + 1, 3001))

    ranks.run(1, body)


def test_what_runs_and_what_is_queued_can_be_seen_from_another_thread() -> None:
    def body(comm: pyccl.Communicator) -> list[FlightRecord]:
        comm.barrier()
        if comm.rank == 0:
            time.sleep(0.5)
            return [comm.all_reduce(np.ones(1)) for _ in range(3)] and []
        works = [comm.all_reduce_async(np.ones(1)) for _ in range(3)]
        time.sleep(0.2)
        seen = comm.flight_record()
        for work in works:
            work.wait()
        return seen

    _, seen = ranks.run(2, body)
    assert [r.state for r in seen] == ["done", "running", "queued", "queued"]
    assert seen[1].end is seen[2].start is seen[3].start is None


def test_a_long_blocking_wait_knows_its_place() -> None:
    def body(comm: pyccl.Communicator) -> str:
        if comm.rank == 0:
            time.sleep(0.4)
        comm.all_reduce(np.ones(1))  # here
        return comm.flight_record()[-1].place

    line = next(n for n, text in enumerate(Path(__file__).read_text().splitlines(), 1) if text.endswith("# here"))
    assert ranks.run(2, body)[1] == f"{__file__}:{line}"


def test_failures_are_recorded() -> None:
    def body(comm: pyccl.Communicator) -> list[str]:
        if comm.rank == 0:
            time.sleep(1)
            return []
        works = [comm.all_reduce_async(np.ones(1), timeout=0.2) for _ in range(2)]
        for work in works:
            with pytest.raises(pyccl.Timeout):
                work.wait()
        with pytest.raises(pyccl.Timeout):
            comm.recv(np.ones(1), 0, timeout=0.1)
        return [r.state for r in comm.flight_record()]

    assert ranks.run(2, body)[1] == ["failed"] * 3


# --- long waits


def test_a_long_wait_is_reported_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("PYCCL_STALL", "0.2")

    def body(comm: pyccl.Communicator) -> None:
        comm.broadcast(np.ones(3), root=0)
        if comm.rank == 1:
            time.sleep(1)
        comm.all_reduce(np.ones(7, "f4"))
        if comm.rank == 0:
            time.sleep(1)
            comm.send(np.ones(2), 2)
        elif comm.rank == 2:
            comm.recv(np.ones(2), 0)

    with caplog.at_level(logging.WARNING, "pyccl"):
        ranks.run(3, body)
    texts = [r.getMessage() for r in caplog.records if r.name == "pyccl"]
    waits = [text for text in texts if "all_reduce(dtype=float32, count=7" in text]
    assert len(waits) == 2, texts  # rank 0 and rank 2, once each
    for text in waits:
        assert " #2 has waited" in text
        assert ": rank 1 did not arrive (last seen: rank 1 in broadcast(dtype=float64, count=3, root=0) #1)" in text
        assert f"called at {__file__}:" in text
    messages = [text for text in texts if "recv(source=0" in text]
    assert len(messages) == 1
    assert "for rank 0" in messages[0]


# --- traces


def test_a_trace_is_private_and_merges(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "traces"
    monkeypatch.setenv("PYCCL_TRACE", str(folder))

    def body(comm: pyccl.Communicator) -> None:
        comm.barrier()
        if comm.rank == 1:
            time.sleep(0.2)
        comm.all_reduce(np.ones(4))
        if comm.rank != 2:
            comm.sendrecv(np.ones(3), (comm.rank + 1) % 2, np.ones(3), (comm.rank + 1) % 2)

    ranks.run(3, body)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    merged = merge(read_folder(folder))
    (group,) = merged.groups
    assert (group.size, group.missing) == (3, [])
    assert {log.header.reason for log in group.logs.values()} == {"close"}
    worst = merged.waits[0]
    assert (worst.kind, worst.sequence, worst.last, worst.nbytes) == ("all_reduce", 2, 1, 32)
    assert worst.place.startswith(f"{__file__}:")
    assert 0.2 <= worst.longest <= worst.caused <= 2 * worst.longest
    assert not merged.unfinished
    assert {wait.kind for wait in merged.waits} >= {"barrier", "all_reduce"}
    assert len([wait for wait in merged.waits if wait.kind in ("send", "recv")]) == 2


@pytest.mark.parametrize("trap", ["symlink", "file"])
def test_a_trace_refuses_what_is_no_folder(trap: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    if trap == "symlink":
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.write_text("")
    monkeypatch.setenv("PYCCL_TRACE", str(folder))
    with pytest.raises(RuntimeError, match=r"PYCCL_TRACE=.*no trace can be written there"):
        ranks.run(1, lambda comm: None)
    assert not list((tmp_path / "elsewhere").glob("*"))


def test_an_error_writes_the_trace_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYCCL_TRACE", str(tmp_path))

    def body(comm: pyccl.Communicator) -> list[str]:
        with pytest.raises(pyccl.MismatchError):
            comm.all_reduce(np.ones(3 + comm.rank))
        reasons = [log.header.reason for log in read_folder(tmp_path) if log.header.rank == comm.rank]
        comm.barrier()
        return reasons

    for (reason,) in ranks.run(2, body):
        assert "ranks disagree" in reason
    unfinished = merge(read_folder(tmp_path)).unfinished
    assert [(u.sequence, u.failed, u.absent) for u in unfinished] == [(1, (0, 1), ())]


def test_sigusr2_writes_the_trace_of_a_rank_that_waits(tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    code = f"""
import numpy as np, os, pathlib, pyccl, signal, time
comm = pyccl.init(timeout=40)
comm.all_reduce(np.ones(2))
if comm.rank == 1:
    time.sleep(0.3)
    for path in pathlib.Path({str(folder)!r}).glob("rank00000*"):
        os.kill(int(path.stem.rsplit("-", 1)[1]), signal.SIGUSR2)
    time.sleep(1)
    text = next(pathlib.Path({str(folder)!r}).glob("rank00000*")).read_text()
    assert '"reason":"signal"' in text and '"state":"running"' in text, text
comm.barrier()
"""
    mpi.mpirun(code, 2, env={"PYCCL_TRACE": str(folder)}, timeout=60)


test_sigusr2_writes_the_trace_of_a_rank_that_waits = pytest.mark.mpi(test_sigusr2_writes_the_trace_of_a_rank_that_waits)


def test_the_programs_own_handler_of_sigusr2_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYCCL_TRACE", str(tmp_path))
    mine = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        with pyccl.Communicator.from_bootstrap(pyccl.bootstrap.ThreadBootstrap.group(1)[0]):
            assert threading.current_thread() is threading.main_thread()
            assert signal.getsignal(signal.SIGUSR2) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR2, mine)


@pytest.mark.mpi
def test_a_rank_that_is_killed_leaves_a_file_and_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    code = """
import numpy as np, os, pyccl, signal
comm = pyccl.init(timeout=20)
comm.barrier()
if comm.rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
try:
    comm.all_reduce(np.ones(2))
except pyccl.Error:
    os._exit(0)
"""
    mpi.mpirun(code, 3, env={"PYCCL_TRACE": str(folder)}, timeout=60, check=False)
    merged = merge(read_folder(folder))
    assert merged.groups[0].missing == []
    assert os.path.basename(min(folder.iterdir())).startswith("rank00000-")  # noqa: PTH119
    assert not merged.groups[0].logs[1].operations


def test_a_record_reads_well() -> None:
    r = FlightRecord(1, 4, "reduce", "sum", "int8", 3, 3, "tree", 2, 0, "done", 1.0, 1.0, 1.5, "a.py:7", "", None)
    assert str(r) == "reduce(int8, count=3, sum, tree, root=2) #4 done after 500000 us, called at a.py:7"
    assert r.seconds == 0.5
    running = dataclasses.replace(r, end=None, state="running", place="")
    assert running.seconds is None
    assert str(running) == "reduce(int8, count=3, sum, tree, root=2) #4 running"


def test_a_failed_operation_has_the_errors_text() -> None:
    def body(comm: pyccl.Communicator) -> tuple[str, list[FlightRecord]]:
        comm.barrier()
        if comm.rank == 1:
            comm.abort("out of patience")
        with pytest.raises(pyccl.PeerAborted) as raised:
            comm.all_reduce(np.ones(3))
        return str(raised.value), comm.flight_record()

    for told, records in ranks.run(2, body):
        assert [r.state for r in records] == ["done", "failed"]
        assert records[0].error == ""
        assert records[1].error == told
        assert "out of patience" in str(records[1])
