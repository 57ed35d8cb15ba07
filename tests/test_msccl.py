"""MSCCL programs and schedules are the same thing, both ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pyccl.algorithms import algorithms, build, register_algorithm, unregister_algorithm
from pyccl.collectives import COLLECTIVES
from pyccl.errors import ConfigError
from pyccl.schedule import interpret, verify
from pyccl.sim.formats import msccl, msccl_write

DATA = Path(__file__).parent / "data" / "traces"
NAMES = [(c, a) for c in COLLECTIVES if c != "barrier" for a in algorithms(c)]


@pytest.mark.parametrize(("collective", "name"), NAMES)
def test_every_algorithm_comes_back(collective: str, name: str, tmp_path: Path) -> None:
    for size in (1, 2, 3, 5, 8):
        if name in algorithms(collective, size):
            before = build(collective, name, size)
            msccl_write.write(before, tmp_path / "x.xml")
            after = msccl.read(tmp_path / "x.xml")
            assert verify(after).messages == verify(before).messages
            assert (after.collective, after.algorithm, after.nchunks) == (collective, name, before.nchunks)


def test_a_program_of_others_is_proven_and_registered() -> None:
    schedule = msccl.read(DATA / "ring8.xml")
    assert (schedule.size, schedule.nchunks, verify(schedule).messages) == (8, 8, 112)
    xs = [np.arange(20.0) * r for r in range(8)]
    assert all(np.array_equal(y, sum(xs)) for y in interpret(schedule, xs))
    register_algorithm("all_reduce", msccl.as_algorithm(schedule), name="from_xml", sizes=lambda n: n == 8)
    try:
        again = build("all_reduce", "from_xml", 8)
        assert all(np.array_equal(a, b) for a, b in zip(again.tables, schedule.tables, strict=True))
        with pytest.raises(ValueError, match="does not serve 4"):
            build("all_reduce", "from_xml", 4)
    finally:
        unregister_algorithm("all_reduce", "from_xml")


ALL_PAIRS = """<algo name="allpairs" coll="allreduce" ngpus="2" nchunksperloop="2" inplace="1" nchannels="2">
<gpu id="0" i_chunks="2" o_chunks="0" s_chunks="1">
  <tb id="0" send="1" recv="1" chan="0">
    <step s="0" type="s" srcbuf="i" srcoff="1" dstbuf="s" dstoff="0" cnt="1" depid="-1" deps="-1" hasdep="0"/>
    <step s="1" type="r" srcbuf="i" srcoff="0" dstbuf="s" dstoff="0" cnt="1" depid="-1" deps="-1" hasdep="1"/></tb>
  <tb id="1" send="1" recv="1" chan="1">
    <step s="0" type="re" srcbuf="s" srcoff="0" dstbuf="i" dstoff="0" cnt="1" depid="0" deps="1" hasdep="0"/>
    <step s="1" type="s" srcbuf="i" srcoff="0" dstbuf="i" dstoff="0" cnt="1" depid="-1" deps="-1" hasdep="0"/>
    <step s="2" type="r" srcbuf="i" srcoff="1" dstbuf="i" dstoff="1" cnt="1" depid="-1" deps="-1" hasdep="0"/>
  </tb></gpu>
<gpu id="1" i_chunks="2" o_chunks="0" s_chunks="1">
  <tb id="0" send="0" recv="0" chan="0">
    <step s="0" type="s" srcbuf="i" srcoff="0" dstbuf="s" dstoff="0" cnt="1" depid="-1" deps="-1" hasdep="0"/>
    <step s="1" type="r" srcbuf="i" srcoff="1" dstbuf="s" dstoff="0" cnt="1" depid="-1" deps="-1" hasdep="1"/></tb>
  <tb id="1" send="0" recv="0" chan="1">
    <step s="0" type="re" srcbuf="s" srcoff="0" dstbuf="i" dstoff="1" cnt="1" depid="0" deps="1" hasdep="0"/>
    <step s="1" type="s" srcbuf="i" srcoff="1" dstbuf="i" dstoff="1" cnt="1" depid="-1" deps="-1" hasdep="0"/>
    <step s="2" type="r" srcbuf="i" srcoff="0" dstbuf="i" dstoff="0" cnt="1" depid="-1" deps="-1" hasdep="0"/>
  </tb></gpu>
</algo>"""


def test_what_arrives_in_scratch_is_combined_when_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "x.xml"
    path.write_text(ALL_PAIRS)
    assert str(msccl.read(path).steps[0][1]) == "recv_reduce chunk 0 from 1"
    path.write_text(ALL_PAIRS.replace('"re" srcbuf="s" srcoff="0" dstbuf="i" dstoff="0"', '"nop"'))
    with pytest.raises(ConfigError):
        msccl.read(path)


def test_a_barrier_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no barrier"):
        msccl_write.write(build("barrier", algorithms("barrier")[0], 4), tmp_path / "x.xml")
