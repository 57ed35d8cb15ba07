"""SIGUSR2 shows what a rank was doing, whether or not anybody asked for a trace, and ends nothing."""

from __future__ import annotations

import pytest

from tests import processes


@pytest.mark.parametrize("mine", [False, True])
def test_a_rank_that_waits_tells_its_last_operations_and_goes_on(mine: bool) -> None:
    code = f"""
    if {mine}:
        signal.signal(signal.SIGUSR2, lambda *_: print("mine"))
    comm = start()
    comm.all_reduce(np.ones(5, "f4"))
    if rank == 0:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR2)).start()
    else:
        time.sleep(0.8)
    comm.barrier()
    print("ended")
    """
    first, second = processes.run(code, 2)
    assert first.returncode == second.returncode == 0, (first, second)
    assert first.stdout.split() == (["mine", "ended"] if mine else ["ended"])
    shown = "pyccl: rank 0: " in first.stderr and "all_reduce(float32, count=5" in first.stderr
    assert shown != mine, first
    assert "barrier() #2 running" in first.stderr or mine, first
    assert "pyccl: rank" not in second.stderr
