"""How a parameter server ends, or does not: forks, exceptions, waits that are in vain."""

from __future__ import annotations

import pytest

from tests.processes import run

_BEGIN = """
        comm = start(timeout=TIMEOUT)
        ps = pyccl.ParameterServer(comm, consistency=pyccl.SSP(0), replicas=1)
        ps.table("w", init=np.zeros(8, np.float32), optimizer=pyccl.optim.SGD(1.0))
"""

_STOP = """
        def stop(pid):
            os.kill(pid, signal.SIGSTOP)
            while open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "T":
                time.sleep(1e-3)
"""


def begin(timeout: float = 30.0) -> str:
    return _BEGIN.replace("TIMEOUT", str(timeout))


def test_the_child_of_a_fork_has_no_parameter_server() -> None:
    ended = run(
        begin()
        + """
        warnings.simplefilter("ignore")
        work = ps.push_async("w", -np.ones(8, np.float32))
        for end in (lambda: os._exit(0), lambda: sys.exit(0)):
            child = os.fork()
            if child == 0:
                table = lambda: ps.table("v", init=0, optimizer=0)
                push = lambda: ps.push("w", np.ones(8, np.float32))
                for call in (lambda: ps.pull("w"), push, ps.clock, ps.finish, ps.stats, table):
                    print(outcome(call), flush=True)
                ps.close()
                end()
            _, status = os.waitpid(child, 0)
            assert status == 0, status
        work.wait()
        ps.clock()
        print(ps.pull("w").tolist())
        ps.close()
        """,
        2,
    )
    assert [one.returncode for one in ended] == [0, 0], ended
    for one in ended:
        *lines, own = one.stdout.splitlines()
        assert len(lines) == 12, ended
        assert all(line.startswith("CommError|the parameter server is used after fork") for line in lines), ended
        assert own == str([2.0] * 8)


def test_an_exception_ends_the_block_and_no_other_rank() -> None:
    ended = run(
        begin()
        + """
        try:
            with ps:
                ps.push("w", -np.ones(8, np.float32))
                if rank == 1:
                    raise KeyError("of the program")
                for _ in range(5):
                    ps.clock()
                    ps.pull("w")
                print(ps.pull("w").tolist())
        except KeyError as error:
            print("raised", error)
        """,
        3,
    )
    assert [one.returncode for one in ended] == [0, 0, 0], ended
    assert "raised 'of the program'" in ended[1].stdout
    assert ended[0].stdout == ended[2].stdout == f"{[3.0] * 8}\n", ended


@pytest.mark.parametrize("request_", ["ps.pull('w')", "ps.push('w', np.ones(8, np.float32))"])
def test_timeout_names_the_rank_that_is_stopped(request_: str) -> None:
    ended = run(
        _STOP
        + f"""
        comm = start(timeout=1.0)
        ps = pyccl.ParameterServer(comm, servers=[2])
        ps.table("w", init=np.zeros(8, np.float32), optimizer=pyccl.optim.SGD(1.0))
        pids = comm.all_gather(np.array([os.getpid()])).tolist()
        if rank == 2:
            with ps.serve():
                pass
        elif rank == 0:
            stop(pids[2])
            try:
                {request_}
            except pyccl.Timeout as error:
                print(error.missing, error)
            print(outcome(lambda: ps.pull("w", out=np.zeros(8, np.float32))))
            os.kill(pids[2], signal.SIGCONT)
            time.sleep(0.2)
        else:
            time.sleep(1.8)
            ps.push("w", -np.ones(8, np.float32))
            print("others go on", ps.pull("w").max() >= 0)
        ps.close()
        """,
        3,
    )
    assert [one.returncode for one in ended] == [0, 0, 0], ended
    first, second = ended[0].stdout.splitlines()
    assert first.startswith("(2,) "), first
    assert "timed out after 1 s: no answer for shard 0 on rank 2 (server 0)" in first, first
    # A push had been handed over, and its wait may be repeated; a pull that is cut short ends this client.
    assert second.startswith("CommError|this client of" if "pull" in request_ else "Timeout|pull('w') timed"), second
    assert "others go on" in ended[1].stdout


def test_timeout_of_a_wait_may_be_repeated() -> None:
    ended = run(
        _STOP
        + """
        comm = start(timeout=20.0)
        ps = pyccl.ParameterServer(comm, servers=[1])
        ps.table("w", init=np.zeros(8, np.float32), optimizer=pyccl.optim.SGD(1.0))
        pids = comm.all_gather(np.array([os.getpid()])).tolist()
        if rank == 0:
            stop(pids[1])
            work = ps.push_async("w", -np.ones(8, np.float32))
            print(outcome(lambda: work.wait(timeout=0.3)))
            assert not work.done()
            os.kill(pids[1], signal.SIGCONT)
            work.wait()
            print(work.done(), ps.pull("w").tolist())
        else:
            with ps.serve():
                pass
        ps.close()
        """,
        2,
    )
    assert [one.returncode for one in ended] == [0, 0], ended
    first, second = ended[0].stdout.splitlines()
    assert first.startswith("Timeout|wait() timed out after 0.3 s: no answer for shard 0 on rank 1"), first
    assert second == f"True {[1.0] * 8}"


@pytest.mark.parametrize(
    "wait",
    [
        "ps.pull('w')",
        "ps.push_pull('w', np.ones(8, np.float32))",
        "ps.push('mean', np.ones(8, np.float32))",
        "ps.close()",
    ],
)
def test_ctrl_c_ends_every_wait(wait: str) -> None:
    """Of a worker that waits for another one, which is busy elsewhere and is not disturbed.

    Cut short, close() ends this rank's server all the same: the copy takes over.
    """
    ended = run(
        begin()
        + f"""
        ps.table("mean", init=np.zeros(8, np.float32), optimizer=pyccl.optim.SGD(1.0), consistency=pyccl.Sync())
        if rank == 0:
            ps.pull("w")
            ps.clock()
            threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
            print(outcome(lambda: {wait}), flush=True)
            ps.close()
        else:
            time.sleep(1.5)
            ps.push("w", np.ones(8, np.float32))
            ps.close()
            print("well")
        """,
        2,
    )
    assert [one.returncode for one in ended] == [0, 0], ended
    assert ended[0].stdout.startswith("KeyboardInterrupt"), ended
    assert float(ended[0].stdout.split("|")[2]) < 1.2, ended
    assert ended[1].stdout == "well\n"


def test_servers_that_close_one_after_the_other_copy_nothing() -> None:
    ended = run(
        begin()
        + """
        ps.table("large", init=np.zeros(1_000_000, np.float32), optimizer=pyccl.optim.SGD(1.0))
        ps.finish()
        ps._endpoint.leave()
        ps._endpoint.close_client()
        while not ps._endpoint.finished():
            time.sleep(1e-3)
        time.sleep(0.3 * rank)
        ps.close()
        print([ps._endpoint.counters(server)["adopted"] for server in range(4)])
        """,
        4,
    )
    assert [one.returncode for one in ended] == [0] * 4, ended
    assert [one.stdout for one in ended] == ["[0, 0, 0, 0]\n"] * 4, ended
