"""Ctrl-C: it ends a wait soon, is never lost, and everybody learns who was interrupted."""

from __future__ import annotations

import pytest

from tests import processes
from tests.test_death import parts


@pytest.mark.parametrize("how", ["comm.all_reduce(np.ones(5))", "comm.recv(np.empty(3), 1)", "queued()"])
def test_ctrl_c_ends_a_wait_and_everybody_learns_who_was_interrupted(how: str) -> None:
    code = f"""
    comm = start()
    comm.barrier()
    def queued():
        comm.all_reduce_async(np.ones(3))
        comm.barrier()
    sent = []
    def interrupt():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
    if rank == 0:
        threading.Timer(0.3, interrupt).start()
        try:
            {how}
        except KeyboardInterrupt as error:
            print(time.monotonic() - sent[0], repr(error))
    else:
        time.sleep(1.0)
        print(outcome(lambda: comm.barrier()))
    print(outcome(lambda: comm.barrier()))
    """
    ended = processes.run(code, 3)
    first, later = ended[0].stdout.splitlines()
    assert float(first.split()[0]) < 0.5, first  # 0.2 s is promised; other tests share the cores
    assert "KeyboardInterrupt()" in first
    for line in (later, *ended[1].stdout.splitlines(), *ended[2].stdout.splitlines()):
        kind, text, _ = parts(line)
        assert kind == "PeerAborted"
        assert "rank 0 was interrupted by KeyboardInterrupt" in text
        assert "EMPTY" not in text


@pytest.mark.parametrize("call", ["all_reduce(np.ones(5))", "all_reduce(np.ones(5), deterministic=False, out=None)"])
def test_ctrl_c_while_a_schedule_is_built_is_not_lost(call: str) -> None:
    code = f"""
    from pyccl.algorithms import register_algorithm
    from pyccl.algorithms.direct import all_reduce_one_shot
    def interrupted(b):
        if rank == 0:
            os.kill(os.getpid(), signal.SIGINT)
        all_reduce_one_shot(b)
    register_algorithm("all_reduce", interrupted)
    os.environ["PYCCL_ALGORITHM"] = "all_reduce=interrupted"
    comm = start()
    print(outcome(lambda: comm.{call}))
    """
    ended = processes.run(code, 3)
    assert ended[0].stdout.startswith("KeyboardInterrupt|"), ended[0]
    for rank in (1, 2):
        kind, text, _ = parts(ended[rank].stdout.strip())
        assert kind == "PeerAborted"
        assert "broken: rank 0 was interrupted by KeyboardInterrupt" in text
