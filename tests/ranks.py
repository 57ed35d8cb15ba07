"""Runs ranks as threads of this process over shared memory, always with a deadline."""

from __future__ import annotations

import faulthandler
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

import pyccl
from pyccl.bootstrap import ThreadBootstrap

T = TypeVar("T")
TIMEOUT = 20.0  # seconds that an operation of these tests may wait for its peers
DEADLINE = 90.0  # seconds for everything that one group of ranks does; below pytest's own timeout


def run(
    size: int, function: Callable[[pyccl.Communicator], T], *, timeout: float = TIMEOUT, deadline: float = DEADLINE
) -> list[T]:
    """Call `function` with a communicator on each of `size` threads and return what they returned, by rank.

    A rank that raises fails the test, with the traceback of the rank that raised first. Ranks that are still running
    at the deadline fail it too, after the stacks of all threads have been printed; they are left behind.
    """
    bootstraps = ThreadBootstrap.group(size, timeout=timeout)
    results: list[Any] = [None] * size
    errors: list[tuple[float, int, BaseException]] = []

    def rank_of(rank: int) -> None:
        try:
            with pyccl.Communicator.from_bootstrap(bootstraps[rank], timeout=timeout) as comm:
                results[rank] = function(comm)
        except BaseException as error:  # the main thread raises it
            errors.append((time.monotonic(), rank, error))

    threads = [threading.Thread(target=rank_of, args=(r,), name=f"rank {r}", daemon=True) for r in range(size)]
    end = time.monotonic() + deadline
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    running = [thread.name for thread in threads if thread.is_alive()]
    if running:
        faulthandler.dump_traceback()
        pytest.fail(f"{', '.join(running)} of {size} still running after {deadline:g} s; errors so far: {errors}")
    if errors:
        _, rank, first = min(errors, key=lambda item: item[0])
        raised = sorted(r for _, r, _ in errors)
        raise RuntimeError(f"rank {rank} of {size} failed first, of ranks {raised}: {first}") from first
    return results


def outcome(function: Callable[[], Any]) -> BaseException | None:
    """Return what `function` raises."""
    try:
        function()
    except (pyccl.Error, TypeError, ValueError, ZeroDivisionError) as error:
        return error
    return None


def usable(comm: pyccl.Communicator) -> None:
    """Assert that a communicator still works."""
    import numpy as np

    for count in (1, 100_000):
        got = comm.all_reduce(np.full(count, comm.rank + 1, np.int64))
        assert (got == comm.size * (comm.size + 1) // 2).all(), "the communicator computes wrong sums afterwards"
