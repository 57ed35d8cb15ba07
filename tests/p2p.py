"""Runs ranks as threads for the tests of messages and groups; a rank's exception is a result."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

import pyccl
from pyccl import Communicator
from pyccl.bootstrap import ThreadBootstrap


def run(size: int, body: Callable[[Communicator], Any], timeout: float = 10.0) -> list[Any]:
    """Call `body` on every rank, each a thread; return the results, or the exception of a rank that raised."""
    ranks = ThreadBootstrap.group(size, 20.0)
    results: list[Any] = [None] * size

    def one(rank: int) -> None:
        try:
            with Communicator.from_bootstrap(ranks[rank], timeout=timeout) as comm:
                results[rank] = body(comm)
        except BaseException as error:
            results[rank] = error

    threads = [threading.Thread(target=one, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return results


def check(size: int, body: Callable[[Communicator], Any], timeout: float = 10.0) -> list[Any]:
    """Do as `run`, but raise what a rank raised: the cause, rather than that others then waited in vain."""
    results = run(size, body, timeout)
    errors = [result for result in results if isinstance(result, BaseException)]
    if errors:
        raise min(errors, key=lambda error: isinstance(error, pyccl.CommError))
    return results


def launch(comm: Communicator, *calls: Callable[[], Any]) -> None:
    with comm.group():
        for call in calls:
            call()


def pattern(nbytes: int, seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, nbytes, np.uint8)
