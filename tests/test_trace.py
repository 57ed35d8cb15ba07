"""`python -m pyccl.trace`: strict about files, right about who waited for whom."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import pyccl
from pyccl.flight import FlightRecord
from pyccl.trace import Log, merge, read_file, read_folder
from pyccl.trace.__main__ import main
from pyccl.trace.chrome import chrome_trace
from pyccl.trace.format import MAX_LINE, Header

HEADER = Header("pyccl-trace", 1, "c" * 32, 0, 2, "host", "boot-a", 11, 100.0, 1e9, 0, "close")
OPERATION = FlightRecord(
    1, 1, "all_reduce", "sum", "float32", 4, 16, "ring", -1, 0, "done", 1.0, 1.0, 2.0, "a.py:1", "", None
)


def text(*lines: Any) -> str:
    return "".join(json.dumps(dataclasses.asdict(line)) + "\n" for line in lines)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text(HEADER, OPERATION))
    assert read_file(path) == Log(path, HEADER, (OPERATION,))


def changed(name: str, value: str) -> str:
    line = json.dumps(dataclasses.asdict(OPERATION))
    old = json.dumps(getattr(OPERATION, name))
    return text(HEADER) + line.replace(f'"{name}": {old}', f'"{name}": {value}', 1) + "\n"


@pytest.mark.parametrize(
    ("content", "line", "why"),
    [
        ("", 1, "empty"),
        ("\n", 1, ""),
        ("{}\n", 1, "exactly the names"),
        ("[" * 9000 + "\n", 1, ""),
        ("x" * (MAX_LINE + 9), 1, "longer than"),
        (text(HEADER)[:-1], 1, "middle of a line"),
        (text(HEADER, OPERATION)[:-30], 2, "middle of a line"),
        (text(dataclasses.replace(HEADER, version=2)), 1, "version 2"),
        (text(dataclasses.replace(HEADER, format="other")), 1, "not a trace"),
        (text(dataclasses.replace(HEADER, rank=2)), 1, "rank 2 of 2"),
        (text(HEADER) + text(HEADER), 2, "exactly the names"),
        (changed("count", "-1"), 2, "count cannot be"),
        (changed("count", "1" * 4000), 2, "count cannot be"),
        (changed("count", "true"), 2, "count cannot be"),
        (changed("start", "NaN"), 2, "no number"),
        (changed("start", "1e308"), 2, "start cannot be"),
        (changed("kind", '"explode"'), 2, "kind cannot be"),
        (changed("state", '"lost"'), 2, "state cannot be"),
        (changed("kind", "[]"), 2, "kind cannot be"),
        (changed("place", "null"), 2, "place cannot be"),
        (changed("tag", '0, "tag": 1'), 2, "given twice"),
        ("\ufeff" + text(HEADER), 1, ""),
    ],
)
def test_bad_files_are_refused_with_their_line(content: str, line: int, why: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(pyccl.ConfigError, match=rf"a\.jsonl, line {line}: .*{why}"):
        read_file(path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(pyccl.ConfigError, match="line 1"):
        read_file(path)


def test_links_and_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real").write_text(text(HEADER))
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real")
    (tmp_path / "folder.jsonl").mkdir()
    for name in ("link.jsonl", "folder.jsonl", "absent.jsonl"):
        with pytest.raises(pyccl.ConfigError, match=name):
            read_file(tmp_path / name)
    (tmp_path / "none").mkdir()
    with pytest.raises(pyccl.ConfigError, match=r"no \*\.jsonl"):
        read_folder(tmp_path / "none")


def op(sequence: int, start: float, end: float | None, kind: str = "all_reduce", **more: Any) -> FlightRecord:
    state = "running" if end is None else "done"
    changes = {"sequence": sequence, "queued": start, "start": start, "end": end, "kind": kind, "state": state, **more}
    return dataclasses.replace(OPERATION, number=sequence, **changes)


def log(rank: int, *operations: FlightRecord, **header: Any) -> Log:
    return Log(Path("x"), dataclasses.replace(HEADER, rank=rank, size=3, pid=10 + rank, **header), operations)


def test_the_last_to_come_is_blamed() -> None:
    merged = merge(
        [
            log(0, op(1, 10.0, 11.0), op(2, 20.0, 20.6)),
            log(1, op(1, 10.25, 11.0), op(2, 20.5, 20.6)),
            log(2, op(1, 10.75, 11.0), op(2, 20.0, 20.6)),
        ]
    )
    first, second = merged.waits
    assert (first.sequence, first.last, first.caused, first.longest) == (1, 2, 1.25, 0.75)
    assert (second.sequence, second.last, second.caused, second.longest) == (2, 1, 1.0, 0.5)
    assert not merged.unfinished


def test_what_did_not_finish_is_listed() -> None:
    merged = merge([log(0, op(1, 1.0, 2.0), op(2, 3.0, None)), log(2, op(1, 1.0, 2.0))])
    (group,), (row,) = merged.groups, merged.unfinished
    assert group.missing == [1]
    assert (row.sequence, row.waiting, row.failed, row.absent) == (2, (0,), (), (2,))


def test_who_never_came_is_blamed_for_the_wait() -> None:
    merged = merge(
        [
            log(0, op(1, 1.0, 2.0), op(2, 3.0, 6.0, state="failed")),
            log(1, op(1, 1.0, 2.0)),
            log(2, op(1, 1.0, 2.0), op(2, 3.5, 6.0, state="failed")),
        ]
    )
    (row,), wait = merged.unfinished, merged.waits[0]
    assert (row.sequence, row.failed, row.absent) == (2, (0, 2), (1,))
    assert (wait.sequence, wait.last, wait.place, wait.caused) == (2, 1, "it never came", 5.5)


def test_the_empty_file_of_a_killed_rank_makes_nothing_unfinished() -> None:
    """All meet in an operation, so what others have finished a killed rank has come to, too."""
    done = [op(n, float(n), n + 0.5) for n in range(1, 5)]
    merged = merge([log(0, *done, op(5, 9.0, 9.5, state="failed")), log(1), log(2, *done)])
    assert [(row.sequence, row.failed, row.absent) for row in merged.unfinished] == [(5, (0,), (1, 2))]


def test_hosts_are_aligned_by_when_they_leave_an_operation() -> None:
    here = [op(n, 10.0 * n, 10.0 * n + 1) for n in range(1, 6)]
    there = [op(n, 5000 + 10.0 * n + 0.5, 5000 + 10.0 * n + 1 + 0.001 * (n == 3)) for n in range(1, 6)]
    merged = merge([log(0, *here), log(1, *there, boot="boot-b")])
    assert merged.offsets == {"boot-a": 0.0, "boot-b": pytest.approx(-5000)}
    assert merged.errors == {"boot-a": 0.0, "boot-b": pytest.approx(0.001)}
    assert merged.waits[0].last == 1
    assert merged.waits[0].longest == pytest.approx(0.5)


def test_the_chrome_trace_shows_operations_and_waits() -> None:
    merged = merge([log(0, op(1, 1.0, 2.0), op(2, 3.0, None)), log(1, op(1, 1.5, 2.0))])
    events = chrome_trace(merged)["traceEvents"]
    shown = [(e["name"], e["pid"], e["ts"], e["dur"]) for e in events if e["ph"] == "X"]
    assert ("all_reduce", 0, 0.0, 1e6) in shown
    assert ("all_reduce", 1, 0.5e6, 0.5e6) in shown
    assert ("wait for rank 1", 0, 0.0, 0.5e6) in shown
    assert ("all_reduce (running)", 0, 2e6, 97e6) in shown
    assert {e["args"]["name"] for e in events if e["name"] == "process_name"} == {
        "rank 0: process 10 on host",
        "rank 1: process 11 on host",
    }


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for one in (log(0, op(1, 10.0, 11.0, place="[red]x[/red].py:3")), log(1, op(1, 10.5, 11.0, place="[b]y.py:100:"))):
        (tmp_path / f"{one.header.rank}.jsonl").write_text(text(one.header, *one.operations))
    assert main([str(tmp_path), "--out", str(tmp_path / "out.json")]) == 0
    shown = capsys.readouterr().out
    assert "no file of rank(s) 2" in shown
    assert "500 ms" in shown
    assert "[b]y.py:100:" in shown  # names of files are neither markup nor emoji
    assert len(json.loads((tmp_path / "out.json").read_text())["traceEvents"]) > 4
    assert main([str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["waits"][0]["last"] == 1
    assert found["communicators"][0]["missing"] == [2]
    (tmp_path / "bad.jsonl").write_text("nonsense\n")
    (tmp_path / "worse.jsonl").write_text("")
    assert main([str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "bad.jsonl, line 1" in told
    assert "worse.jsonl, line 1: the file is empty" in told
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "examples:" in capsys.readouterr().out
