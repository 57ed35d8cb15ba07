"""comm.shrink(): the survivors of a node go on by themselves, whoever dies when."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pyccl
from pyccl.bootstrap import SingleBootstrap
from pyccl.config import Settings
from pyccl.survivors import regroup_mpi
from tests import processes, ranks

# `go_on` is what a program does after an error: values must be right at once, whichever rank is which now
HELPERS = """
def broken(comm):
    try:
        while True:
            comm.all_reduce(np.ones(3))
    except pyccl.CommError:
        return
def check(comm, old):
    got = comm.all_gather(np.array([old], np.int64))
    assert comm.all_reduce(np.full(50_000, old + 1.0))[0] == sum(got + 1), got
    assert comm.all_reduce_async(comm.empty(10)).wait()[0] == 0
    comm.sendrecv(np.ones(3), (comm.rank + 1) % comm.size, np.empty(3), (comm.rank - 1) % comm.size)
    print(comm.rank, comm.size, got.tolist())
"""


@pytest.mark.parametrize(
    ("transport", "words"),
    [("auto", "the ranks of several nodes can regroup"), ("mpi", "with PYCCL_TRANSPORT=mpi ranks can regroup")],
)
def test_the_refusal_without_ulfm_says_why(transport: str, words: str) -> None:
    settings = Settings(transport=transport)
    with pytest.raises(pyccl.CommError, match=f"shrink: {words} under Open MPI only") as raised:
        regroup_mpi(SingleBootstrap(), lambda _: None, lambda _: None, 1.0, settings)
    assert ("of one host need no MPI" in str(raised.value)) == (transport == "mpi")


def run(code: str, size: int) -> dict[int, list[str]]:
    """Return what the ranks that lived have printed; a folder for shared memory is as it was."""
    before = set(Path("/dev/shm").iterdir())
    ended = processes.run(HELPERS + code, size)
    assert not {name for name in set(Path("/dev/shm").iterdir()) - before if "pyccl" in name.name}
    lived = {}
    for rank, end in enumerate(ended):
        if end.returncode != processes.KILLED:
            assert (end.returncode, end.stderr) == (0, ""), ended
            lived[rank] = end.stdout.splitlines()
    return lived


def numbered(old: list[int]) -> dict[int, list[str]]:
    return {rank: [f"{i} {len(old)} {old}"] for i, rank in enumerate(old)}


@pytest.mark.parametrize(("size", "victims"), [(4, [1]), (4, [0]), (5, [1, 3]), (3, [0, 1]), (2, [0])])
def test_the_others_go_on_in_order(size: int, victims: list[int]) -> None:
    code = f"""
comm = start()
comm.barrier()
if rank in {victims}:
    die()
broken(comm)
new = comm.shrink()
check(new, rank)
"""
    assert run(code, size) == numbered([rank for rank in range(size) if rank not in victims])


@pytest.mark.parametrize("when", ["before", "after", "amid"])
@pytest.mark.parametrize("note", range(6))
def test_a_death_at_any_step_of_shrink(note: int, when: str) -> None:
    """The lowest survivor dies: the one whose memory the others map. Six notes are written by each."""
    code = f"""
from pyccl.shared_bootstrap import Notes
comm = start()
comm.barrier()
if rank == 2:
    die()
broken(comm)
if rank == 0:
    post, posted = Notes.post, []
    def dying(self, *args):
        posted.append(args)
        if len(posted) == {note} + 1:
            if {when!r} == "after":
                post(self, *args)
            elif {when!r} == "amid":
                start = self._half * (self._turn % 2)
                self._mine[start : start + 9] = b"\\x07" * 9
            die()
        post(self, *args)
    Notes.post = dying
new = comm.shrink()
if new.size == 4:  # rank 0 has died after its last note
    broken(new)
    new = new.shrink()
check(new, rank)
"""
    assert run(code, 5) == numbered([1, 3, 4])


@pytest.mark.parametrize("seed", range(3))
def test_two_die_at_any_moment_around_shrink(seed: int) -> None:
    first, second = np.random.default_rng(seed).uniform(0, 0.03, 2)
    code = f"""
comm = start()
comm.barrier()
if rank == 4:
    die()
if rank in (0, 2):
    threading.Timer({first:.4f} if rank == 0 else {second:.4f}, die).start()
while comm.size > 3:
    broken(comm)
    comm = comm.shrink()
check(comm, rank)
"""
    assert run(code, 6) == numbered([1, 3, 5])


def test_shrink_again_and_to_one() -> None:
    code = """
comm = start()
comm.barrier()
for victim in range(size - 1):
    if rank == victim:
        die()
    broken(comm)
    old, comm = comm, comm.shrink()
    assert comm.size == size - 1 - victim
    assert old.lost == (0,)
    old.close()
check(comm, rank)
assert comm.lost == ()
"""
    assert run(code, 4) == numbered([3])


def test_after_an_abort_all_live_ranks_take_part_but_those_that_have_closed() -> None:
    code = """
comm = start()
comm.barrier()
if rank == 1:
    comm.close()
    sys.exit()
if rank == 2:
    comm.abort("nan")
broken(comm)
check(comm.shrink(), rank)
"""
    assert run(code, 4) == {1: [], **numbered([0, 2, 3])}


def test_a_rank_that_does_not_come_is_named_and_may_come_later() -> None:
    code = """
comm = start()
comm.barrier()
if rank == 1:
    die()
broken(comm)
if rank == 0:
    time.sleep(1.5)
else:
    print(outcome(lambda: comm.shrink(timeout=0.3)))
new = comm.shrink()
check(new, rank)
"""
    lived = run(code, 4)
    for rank in (2, 3):
        kind, text, seconds = lived[rank].pop(0).split("|")
        assert (kind, text) == ("Timeout", "shrink: rank(s) 0 did not come within 0.3 s")
        assert float(seconds) < 1.3
    assert lived == numbered([0, 2, 3])


def test_a_failure_on_one_rank_is_told_to_all_and_can_be_mended() -> None:
    code = """
comm = start()
comm.barrier()
if rank == 1:
    die()
broken(comm)
build = comm._rebuild
if rank == 2:
    comm._rebuild = lambda bootstrap: 1 / 0
print(outcome(comm.shrink))
comm._rebuild = build
check(comm.shrink(), rank)
"""
    lived = run(code, 4)
    for lines in lived.values():
        text = "CommError|shrink: rank 2 failed: ZeroDivisionError: division by zero"
        assert lines.pop(0).startswith(text)
    assert lived == numbered([0, 2, 3])


def test_split_and_settings_live_on() -> None:
    code = """
bootstrap = FileBootstrap(sys.argv[1] + "/world", rank, size)
comm = pyccl.Communicator.from_bootstrap(bootstrap, timeout=7.0, deterministic=True)
comm.barrier()
if rank == 0:
    die()
broken(comm)
comm = comm.shrink()
assert (comm.deterministic, comm._timeout) == (True, 7.0)
half = comm.split(comm.rank % 2, key=-comm.rank)
again = half.split(0)
assert comm.split(None) is None
assert comm.split(0 if comm.rank == 1 else None) is None or comm.rank == 1
print(again.all_gather(np.array([rank])).tolist())
"""
    assert run(code, 6) == {1: ["[5, 3, 1]"], 2: ["[4, 2]"], 3: ["[5, 3, 1]"], 4: ["[4, 2]"], 5: ["[5, 3, 1]"]}


def test_what_cannot_be_shrunk() -> None:
    def function(comm: pyccl.Communicator) -> list[str]:
        texts = [str(ranks.outcome(comm.shrink))]
        comm.barrier()
        comm.abort("enough")
        texts.append(str(ranks.outcome(lambda: comm.shrink(timeout=-1))))
        new = comm.shrink()
        ranks.usable(new)
        texts.append(str(ranks.outcome(comm.shrink)))
        new.close()
        comm.close()
        texts.append(str(ranks.outcome(comm.shrink)))
        return texts

    for texts in ranks.run(3, function):
        words = ("is not broken; split(0) makes a copy", "timeout", "there is a new communicator already", "is closed")
        assert all(word in text for word, text in zip(words, texts, strict=True)), texts


def test_descriptors_and_memory_do_not_grow() -> None:
    def function(comm: pyccl.Communicator) -> None:
        for _ in range(30):
            comm.barrier()
            comm.abort("next")
            old, comm = comm, comm.shrink()
            old.close()
        comm.close()

    ranks.run(2, function)
    before = len(list(Path("/proc/self/fd").iterdir()))
    ranks.run(2, function)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2


def test_long_messages_of_the_bootstrap_travel_in_pieces() -> None:
    def function(comm: pyccl.Communicator) -> None:
        comm.barrier()
        comm.abort("next")
        new = comm.shrink()
        mine = bytes(range(256)) * (40 * new.rank)
        assert new._bootstrap.allgather(mine) == [bytes(range(256)) * (40 * rank) for rank in range(new.size)]

    ranks.run(3, function)
