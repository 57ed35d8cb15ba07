"""split() while a rank dies, is stopped, or fails: everybody raises, names it, and can go on without it."""

from __future__ import annotations

import pytest

from tests import processes
from tests.test_death import SOON, parts

SHORT = 1.5  # seconds


@pytest.mark.parametrize("after", [0.02, 0.06, 0.15])
def test_a_death_during_splits_is_named_by_all_and_they_can_shrink(after: float) -> None:
    code = f"""
    comm = start()
    comm.barrier()
    if rank == 1:
        threading.Timer({after}, die).start()
    else:
        threading.Timer({after}, lambda: globals().update(died=time.monotonic())).start()
    def splits():
        while True:
            comm.split(rank % 2).close()
    print(outcome(splits))
    print(time.monotonic() - died)
    print(outcome(comm.barrier))
    comm = comm.shrink()
    print(comm.all_reduce(np.ones(2)))
    """
    ended = processes.run(code, 4)
    for rank in (0, 2, 3):
        assert ended[rank].returncode == 0, ended[rank]
        first, seconds, later, total = ended[rank].stdout.splitlines()
        assert parts(first)[0] == parts(later)[0] == "PeerLost", ended[rank]
        assert "rank 1 died" in first
        assert "split #" in first
        assert "all_gather" not in first
        assert float(seconds) < SOON
        assert total == "[3. 3.]"


def test_a_rank_stopped_during_splits_is_named_in_time_by_all() -> None:
    code = f"""
    comm = start({SHORT})
    comm.barrier()
    if rank == 1:
        if os.fork() == 0:
            time.sleep(4 * {SHORT})
            os.kill(os.getppid(), signal.SIGKILL)
            os._exit(0)
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGSTOP)).start()
    def splits():
        while True:
            comm.split(0).close()
    print(outcome(splits))
    print(outcome(comm.barrier))
    """
    ended = processes.run(code, 3)
    for rank in (0, 2):
        first, later = ended[rank].stdout.splitlines()
        assert parts(first)[0] == parts(later)[0] == "Timeout", ended[rank]
        assert "rank 1" in first
        assert parts(first)[2] < 2 * SHORT + 1


def test_a_rank_that_cannot_make_its_part_is_named_and_the_parent_works_on() -> None:
    code = """
    import pyccl.membership
    comm = start(5)
    if rank == 1:
        def fail(*_):
            raise OSError("no space for this")
        whole, pyccl.communicator.membership.join = pyccl.communicator.membership.join, fail
    print(outcome(lambda: comm.split(0)))
    print(outcome(lambda: comm.split(None if rank == 2 else rank % 2)))
    if rank == 1:
        pyccl.communicator.membership.join = whole
    print(comm.split(0, -rank).all_gather(np.array([rank])).tolist())
    """
    for rank, ended in enumerate(processes.run(code, 3)):
        assert ended.returncode == 0, ended
        *failures, order = ended.stdout.splitlines()
        for failure in failures:
            kind, text, seconds = parts(failure)
            assert kind == ("OSError" if rank == 1 else "PeerAborted"), failure
            assert "no space for this" in text
            assert seconds < SOON
        assert order == "[2, 1, 0]"
