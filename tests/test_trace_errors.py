"""What is wrong with a trace is one ConfigError that says where and what to write."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from pyccl.errors import ConfigError
from pyccl.sim.formats import chakra, goal, kineto, msccl
from pyccl.sim.formats.chakra_node import RawNode, attribute, encode
from pyccl.sim.formats.load import load
from pyccl.sim.formats.protobuf import key, message

HEAD = "num_ranks 2\nrank 0 {\n"
GOAL = [
    ("", "expected 'num_ranks N'"), ("rank 0 {\n}", ":1: expected 'num_ranks N'"), ("num_ranks 0\n", ":1: num_ranks"),
    (HEAD + "a: send 8b to 2\n}", ":3: rank must be from 0 to 1, got 2"), (HEAD + "a: send 8b to 0\n}", ":3: .*itself"),
    (HEAD + "a: send -8b to 1\n}", ":3: cannot read"), (HEAD + "a: calc nan\n}", ":3: cannot read.*write"),
    (HEAD + "a: calc 1\na: calc 2\n}", ":4: rank 0 has the label 'a' twice"), (HEAD + "a: calc 1\n", "ends inside rank 0"),
    (HEAD + "a: calc 1\na requires b\n}", ":4: rank 0 has no label 'b'"), (HEAD + "}\nrank 0 {\n}", ":4: rank 0 comes twice"),
    (HEAD + "a: calc 99999999999999999999\n}", ":3: calc's nanoseconds"), (HEAD + "/* x\n}", ":3: the comment is never"),
    ("num_ranks 2\na: calc 1\n", ":2: .* stands outside 'rank N"), (HEAD + "a: calc 1\nb: calc 1\na requires b\nb requires a\n}",
     "deadlock: each waits for the next: rank 0 node"), (HEAD + "a: send 8b to 1\n}", "no other end: nothing receives"),
    (HEAD + "x" * 70_000, "longer than 65536"), (HEAD + "a: send 8b to 1 tag 4294967296\n}", ":3: tag must be from 0"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says"), GOAL)
def test_goal(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "x.goal"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says) as caught:
        goal.read(path).topological_check()
    assert str(path) in str(caught.value)


def test_goal_waits_in_a_circle_of_ranks(tmp_path: Path) -> None:
    rank = "rank {} {{\na: recv 8b from {} tag {}\nb: send 8b to {} tag {}\nb requires a\n}}\n"
    path = tmp_path / "x.goal"
    path.write_text("num_ranks 2\n" + rank.format(0, 1, 1, 1, 2) + rank.format(1, 0, 2, 0, 1))
    with pytest.raises(ConfigError, match="deadlock.*rank 0 node 0.*rank 1 node 0"):
        load(path)
    path.write_text(path.read_text().replace("b requires a", "b irequires a"))
    load(path)


def node(number: int, kind: int = 4, deps: tuple[int, ...] = (), **attributes: int) -> bytes:
    raw = RawNode(number, b"n", kind, list(deps))
    return message(encode(raw, [attribute(name, value) for name, value in attributes.items()]))


META = message(key(1, b"0.0.4"))
CHAKRA = [
    (META + node(1)[:-2], "byte 8: the file ends inside"), (META + node(1) + node(1), "record 2 has the id 1"),
    (META + node(1, 5), "has no comm_dst"), (META + node(1, 5, comm_dst=7, comm_size=1), "add the file of rank 7"),
    (META + node(1, 5, comm_dst=0), "to itself"), (META + node(1, 7, comm_type=99, comm_size=1), "comm_type must be"),
    (META + node(1, 7, comm_type=0, comm_size=-1), "comm_size must be from 0"), (b"\xff" * 20, "the length of a record"),
    (b"\xff\xff\xff\xff\x0f", "claims"), (META + b"\x03\x08\xff\xff", "record 1 ends inside a number"),
    (META + node(1, 9), "node type 9"), (META + message(b"\x0b\x00"), "wire type 3"),
    (META + node(1, deps=(2,)) + node(2, deps=(1,)), "deadlock: .*rank 0 node 1.*rank 0 node 2"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "says"), CHAKRA)
def test_chakra(data: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "x.0.et").write_bytes(data)
    with pytest.raises(ConfigError, match=says):
        load(tmp_path / "x.0.et")


def test_chakra_takes_what_the_wild_has(tmp_path: Path) -> None:
    """Ids out of order and absent, numbers as strings and floats, a version in an attribute, CPU ops."""
    wild = RawNode(3, b"n", 7, [9, 1])
    text = key(10, key(1, b"comm_size") + key(29, b"64"))
    real = key(10, key(1, b"comm_type") + key(3, 0.0))
    data = message(key(2, key(1, b"schema") + key(29, b"1.0.2"))) + message(encode(wild, [text, real])) + node(1)
    (tmp_path / "x.0.et").write_bytes(data + node(4, 7, comm_type=0) + node(5, 7, is_cpu_op=1))
    trace = load(tmp_path)
    first = next(trace.nodes(0))
    assert (first.id, first.nbytes, first.after) == (3, 64, (1,))
    assert trace.skipped == {"dependency on a node that is absent": 1, "collective without comm_size": 1}


def test_chakra_names_the_missing_rank(tmp_path: Path) -> None:
    for rank in (0, 2):
        (tmp_path / f"x.{rank}.et").write_bytes(META)
    with pytest.raises(ConfigError, match="the file of rank 1 is missing"):
        chakra.read(tmp_path / "x.0.et")


def test_collectives_that_do_not_meet(tmp_path: Path) -> None:
    for rank, size in enumerate((8, 16)):
        (tmp_path / f"x.{rank}.et").write_bytes(META + node(1, 7, comm_type=0, comm_size=size))
    with pytest.raises(ConfigError, match="rank 0 node 1 .*8 bytes.* meets rank 1 node 1 .*16 bytes"):
        load(tmp_path)
    (tmp_path / "x.1.et").write_bytes(META)
    with pytest.raises(ConfigError, match="rank 0 node 1.*waits for rank 1, which never comes"):
        load(tmp_path)


KINETO = [
    ("", "expected one of {"), ("{}", "has no array 'traceEvents'"), ('{"traceEvents": [' + "[" * 100_000, "deeply|no JSON"),
    ('{"traceEvents": [{"ph": "X", "ts": NaN', "no JSON"), ('{"traceEvents": [1]}', "event 0 is no object"),
    ('{"traceEvents": [{"ph": "X", "cat": "kernel", "name": "k", "ts": 0, "dur": -1}]}', "event 0 .*'k'.*negative"),
    ('{"traceEvents": [{"ph": "X", "cat": "kernel", "ts": "a", "dur": 1}]}', "ts must be a number"),
    ('{"traceEvents": []}', "has no kernels"), ('{"traceEvents": [{"ph": "X"', "no JSON"),
    ('{"traceEvents": [{"a": "' + "x" * (1 << 25), "more than 16777216"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says"), KINETO, ids=range(len(KINETO)))
def test_kineto(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        kineto.read(path)


STEP = '<algo coll="allreduce" ngpus="2" nchunksperloop="1" inplace="1"><gpu id="0" i_chunks="1"><tb id="0" {}>{}</tb></gpu>'
REST = '<gpu id="1" i_chunks="1"/></algo>'
BOMB = '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><algo name="&b;"/>'
MSCCL = [
    ("", "no XML"), ("<a/>", "<a> has no place"), (BOMB, "entities have no place"), ("<algo coll='x' ngpus='2'/>", "coll must"),
    ("<algo coll='allreduce' ngpus='2'/>", "gpu 0 of 2 is missing"), ("<algo coll='allreduce' ngpus='0'/>", "needs ngpus"),
    (STEP.format("send='7'", "") + REST, "needs send"), (STEP.format("", "<step s='0' type='s'/>") + REST, "names no peer"),
    (STEP.format("recv='1'", "<step s='0' type='r'/>") + REST, "deadlock: 1 thread blocks.*rank 0 tb 0"),
    (STEP.format("send='1'", "<step s='0' type='s' srcoff='5'/>") + REST, "i.5., which holds nothing"),
    (STEP.format("send='1'", "<step s='0' type='s'/>") + REST, "rank 1 does not use what rank 0 sends"),
    (STEP.format("", "") + REST, "missing contribution"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says"), MSCCL, ids=range(len(MSCCL)))
def test_msccl(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "x.xml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        msccl.read(path)


LAYERS = [
    ("WHAT all_gpus: 8\n1\n", ":1: the policy must be one of"), ("DATA\n1\n", ":1: says no all_gpus"),
    ("DATA all_gpus: 8\nx\n", ":2: expected a number of layers"), ("DATA all_gpus: 8\n2\n", "layer 1 of 2"),
    ("DATA all_gpus: 8\n1\na -1 1\n", ":3: a layer has 12 columns"),
    ("DATA all_gpus: 8\n1\na -1 1 WHAT 1 1 NONE 0 1 NONE 0 1\n", ":3: a collective is NONE or one of"),
    ("DATA all_gpus: 8\n1\na -1 -5 NONE 1 1 NONE 0 1 NONE 0 1\n", ":3: time in ns must be"),
    ("HYBRID_TRANSFORMER model_parallel_NPU_group: 3 all_gpus: 8\n1\n", "must divide the 8 ranks"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says"), LAYERS)
def test_layers(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        load(path)


BOUNDED = """
import resource, sys
from pyccl.errors import ConfigError
from pyccl.sim.formats.load import load
import numpy
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
try:
    load(sys.argv[1])
except ConfigError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["x.goal", "x.json", "x.0.et"])
def test_a_line_of_a_gigabyte_and_a_gzip_bomb_take_little_memory(name: str, tmp_path: Path) -> None:
    path, bomb = tmp_path / name, tmp_path / f"bomb.{name}.gz"
    start = {"x.goal": b"num_ranks 2\n", "x.json": b'{"traceEvents": [{"a":"', "x.0.et": b"\x01\x00"}[name]
    with path.open("wb") as file:
        file.write(start)
        file.truncate(1 << 30)  # a hole: zeros without a newline
    bomb.write_bytes(gzip.compress(start) + gzip.compress(bytes(1 << 26)) * 8)
    for one in (path, bomb):
        command = [sys.executable, "-c", BOUNDED, str(one)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert name in done.stdout
