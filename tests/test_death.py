"""A rank that dies, gives up, is interrupted or forks: nobody hangs, everybody learns who and why."""

from __future__ import annotations

import pytest

from tests import processes

SOON = 2.0  # seconds: the promise for one node

WAITS = {
    "all_reduce": "comm.all_reduce(np.ones(4))",
    "large": "comm.all_reduce(np.ones(3_000_000))",
    "barrier": "comm.barrier()",
    "plan": "comm.plan('all_reduce', np.ones(4))()",
    "async": "comm.all_reduce_async(np.ones(4)).wait()",
    "uneven": "comm.all_to_all(np.ones(size), send_counts=[1] * size, recv_counts=[1] * size)",
    "recv": "comm.recv(np.empty(3), (rank + 1) % size)",
    "send": "comm.send(np.empty(300_000), (rank + 1) % size)",
    "empty": "comm.empty(1000)",
    "register": "comm.register(np.ones(1000))",
    "split": "comm.split(0)",
    "check_same": "comm.check_same(np.ones(3))",
}
CALLED = {"large": "all_reduce", "plan": "all_reduce", "async": "all_reduce", "uneven": "all_to_all"}


def parts(line: str) -> tuple[str, str, float]:
    kind, text, seconds = line.rsplit("\n", 1)[-1].split("|")
    return kind, text, float(seconds)


@pytest.mark.parametrize("name", WAITS)
def test_survivors_name_the_dead_rank_soon_and_say_the_same_later(name: str) -> None:
    code = f"""
    comm = start()
    comm.all_reduce(np.ones(4))
    if rank == 1:
        time.sleep(0.3)
        die()
    print(outcome(lambda: {WAITS[name]}))
    again = sorted(float(outcome(lambda: comm.barrier()).split("|")[2]) for _ in range(100))
    print(outcome(lambda: comm.barrier()))
    print(again[50], comm.lost)
    """
    ended = processes.run(code, 3)
    assert ended[1].returncode == processes.KILLED
    for rank in (0, 2):
        assert ended[rank].returncode == 0, ended[rank]
        first, later, rest = ended[rank].stdout.splitlines()
        kind, text, seconds = parts(first)
        assert kind == "PeerLost", first
        assert "rank 1 died" in text
        known_before = text == "rank 1 died"  # when this rank began, later than the others
        assert known_before or CALLED.get(name, name) in text
        assert seconds < SOON + 0.3
        assert parts(later)[0] == "PeerLost"
        assert "rank 1 died" in later
        median, lost = rest.split(" ", 1)
        assert float(median) < 0.005
        assert lost == "(1,)"


@pytest.mark.parametrize("after", [0.0, 0.013, 0.05, 0.11])
def test_a_kill_at_any_moment_of_a_stream_of_operations(after: float) -> None:
    code = f"""
    comm = start()
    if rank == 2:
        threading.Timer({after}, die).start()
    x = np.ones(50_000)
    def forever():
        i = 0
        while True:
            assert (comm.all_reduce(x) == size).all()
            comm.all_reduce_async(x[: i % 100]).wait()
            out = comm.sendrecv(x[:5000], (rank + 1) % size, np.empty(5000), (rank - 1) % size)
            assert (out == 1).all()
            i += 1
    print(outcome(forever))
    """
    ended = processes.run(code, 4)
    for rank in (0, 1, 3):
        kind, text, _ = parts(ended[rank].stdout.strip())
        assert kind == "PeerLost", ended[rank]
        assert "rank 2" in text


def test_a_rank_that_has_closed_is_no_loss_until_it_is_waited_for() -> None:
    code = """
    comm = start()
    comm.barrier()
    if rank == 1:
        comm.close()
        sys.exit(3)
    time.sleep(0.5)
    if rank == 0:
        print(comm.lost, outcome(lambda: comm.send(np.ones(3), 2)))
    else:
        print(comm.lost, outcome(lambda: comm.recv(np.ones(3), 0)))
    print(outcome(lambda: comm.barrier()))
    """
    ended = processes.run(code, 3)
    assert ended[1].returncode == 3
    for rank in (0, 2):
        first, second = ended[rank].stdout.splitlines()
        assert first.startswith("() none|")
        assert parts(second)[0] == "PeerLost"
        assert "rank 1 left before it finished barrier() #2" in second


@pytest.mark.parametrize("size", [2, 4])
def test_abort_from_another_thread_ends_every_wait(size: int) -> None:
    code = """
    comm = start()
    comm.barrier()
    if rank == 1:
        threading.Timer(0.3, comm.abort, ["loss is nan"]).start()
        time.sleep(0.35)
    try:
        comm.all_reduce(np.ones(5)) if rank != 1 else comm.barrier()
    except pyccl.PeerAborted as error:
        print(error.rank, error.broken, error.reason, "|", error)
    print(outcome(lambda: comm.barrier()))
    """
    for ended in processes.run(code, size):
        first, later = ended.stdout.splitlines()
        assert first.startswith("1 True loss is nan |")
        assert "the communicator is broken: rank 1 aborted it: loss is nan" in first
        kind, _text, seconds = parts(later)
        assert (kind, seconds < 0.1) == ("PeerAborted", True)


def test_an_exception_that_leaves_with_is_the_peers_reason() -> None:
    code = """
    with start() as comm:
        comm.barrier()
        if rank == 0:
            raise ZeroDivisionError("by zero")
        print(outcome(lambda: comm.all_reduce(np.ones(5))))
    """
    ended = processes.run(code, 3)
    assert ended[0].returncode == 1
    assert ended[0].stderr.rstrip().endswith("ZeroDivisionError: by zero")
    for rank in (1, 2):
        kind, text, seconds = parts(ended[rank].stdout.strip())
        assert kind == "PeerAborted"
        assert "rank 0" in text
        assert "ZeroDivisionError: by zero" in text
        assert seconds < SOON


def test_an_exception_that_ends_the_program_is_told_too() -> None:
    code = """
    comm = start()
    comm.barrier()
    if rank == 0:
        raise ZeroDivisionError("by zero")
    print(outcome(lambda: comm.all_reduce(np.ones(5))))
    """
    ended = processes.run(code, 2)
    assert ended[0].returncode == 1
    assert "rank 0 aborted it: ZeroDivisionError: by zero" in ended[1].stdout


def test_a_timeout_says_who_how_long_and_what_they_did_last() -> None:
    code = """
    comm = start()
    comm.all_gather(np.ones(2, np.int8))
    if rank == 1:
        time.sleep(1.0)
    print(outcome(lambda: comm.reduce(np.ones(3, "f4"), "max", timeout=0.3)))
    """
    for ended in processes.run(code, 3):
        kind, text, _ = parts(ended.stdout.strip())
        assert kind == "Timeout"
        words = ("reduce(dtype=float32, count=3, op=max, root=0, ", ") #2 timed out after 0.3 s: rank 1 did not arrive",
                 "(last seen: rank 1 in all_gather(dtype=int8, count=6) #1)")  # fmt: skip
        assert all(word in text for word in words), text


def test_errors_that_nobody_waited_for_are_raised_by_close() -> None:
    code = """
    comm = start(timeout=0.3)
    comm.barrier()
    if rank == 1:
        time.sleep(1.0)
        sys.exit(0)
    work = comm.all_reduce_async(np.ones(3)) if rank == 0 else comm.send_async(np.ones(3), 1)
    print(outcome(comm.close), outcome(comm.close))
    """
    ended = processes.run(code, 3)
    for rank in (0, 2):
        assert ended[rank].stdout.startswith("Timeout|"), ended[rank]
        assert "none||" in ended[rank].stdout


def test_leaving_by_an_exception_only_warns_of_them() -> None:
    code = """
    comm = start(timeout=0.3)
    comm.barrier()
    if rank == 0:
        try:
            with comm:
                comm.all_reduce_async(np.ones(3))
                raise ValueError("mine")
        except ValueError as error:
            print(error)
    """
    ended = processes.run(code, 2)
    assert ended[0].stdout.strip() == "mine"
    assert "RuntimeWarning: an operation that nobody waited for has failed" in ended[0].stderr


def test_leaving_with_work_in_flight_is_bounded_and_keeps_the_exit_code() -> None:
    code = """
    comm = start(timeout=300)
    comm.barrier()
    if rank == 0:
        work = comm.all_reduce_async(np.ones(3))
        sys.exit(5)
    print(outcome(lambda: time.sleep(8) or comm.barrier()))
    """
    ended = processes.run(code, 2)
    assert ended[0].returncode == 5
    assert "ended with operations pending" in ended[1].stdout


def test_a_child_of_fork_is_refused_and_harms_nobody() -> None:
    code = """
    import multiprocessing
    comm = start()
    work = comm.all_reduce_async(np.ones(3))  # a thread that the child does not have
    work.wait()
    x = comm.empty(1000)
    plan = comm.plan("all_reduce", np.ones(3))
    def child():
        calls = (comm.barrier, plan, lambda: comm.all_reduce(np.ones(2)), lambda: comm.all_reduce_async(np.ones(2)),
                 lambda: comm.empty(3), lambda: comm.send(np.ones(2), 1 - rank), lambda: comm.abort("x"),
                 lambda: comm.split(0), comm.group().__enter__)
        errors = [outcome(call) for call in calls]
        comm.close()
        return [e for e in errors if not e.startswith("CommError|the communicator is used after fork")]
    queue = multiprocessing.get_context("fork").SimpleQueue()
    process = multiprocessing.get_context("fork").Process(target=lambda: queue.put(child()))
    process.start()
    print(queue.get())
    process.join()
    pid = os.fork()
    if pid == 0:
        wrong = child()
        sys.exit(len(wrong))
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    for _ in range(3):
        assert comm.all_reduce(x, out=x)[0] == 0
        comm.all_reduce_async(np.ones(3)).wait()
    comm.close()
    """
    for ended in processes.run(code, 2):
        assert ended.returncode == 0, ended
        assert ended.stdout.split("\n")[:2] == ["[]", "0"], ended


def test_who_has_closed_is_not_waited_for() -> None:
    code = """
    comm = start()
    comm.barrier()
    if rank == 1:
        comm.close()
        time.sleep(3)
    else:
        began = time.monotonic()
        print(outcome(lambda: comm.all_reduce(np.ones(3))))
        print(time.monotonic() - began < 2)
    """
    for ended in (processes.run(code, 3)[rank] for rank in (0, 2)):
        error, soon = ended.stdout.splitlines()
        assert "PeerLost" in error, error
        assert "rank 1 left before it finished all_reduce" in error, error
        assert soon == "True"
