"""The helper that the other tests rely on must itself notice failures and hanging ranks."""

from __future__ import annotations

import time

import pytest

from tests import mpi


@mpi.check(sizes=(1, 3))
def every_rank_takes_part() -> None:
    from mpi4py import MPI

    assert MPI.COMM_WORLD.allreduce(1) == MPI.COMM_WORLD.size


@mpi.check(sizes=(2,), cases=["int8", "float32"])
def a_case_is_passed(dtype: str) -> None:
    assert dtype in ("int8", "float32")


test_mpi = mpi.checks(globals())


@pytest.mark.mpi
def test_a_failing_rank_fails_the_test() -> None:
    run = mpi.mpirun("from mpi4py import MPI; raise SystemExit(MPI.COMM_WORLD.rank)", 2, check=False)
    assert run.returncode not in (0, None)
    with pytest.raises(pytest.fail.Exception, match="boom"):
        mpi.mpirun("raise RuntimeError('boom')", 1)


@pytest.mark.mpi
def test_a_hanging_run_ends_at_its_deadline_and_shows_its_stack() -> None:
    started = time.monotonic()
    code = "import time\nfrom mpi4py import MPI\nprint('before', flush=True)\ntime.sleep(600)"
    run = mpi.mpirun(code, 2, timeout=5, check=False)
    assert run.returncode is None
    assert time.monotonic() - started < 20
    assert "before" in run.stdout
    assert 'File "<string>", line 4' in run.stderr
