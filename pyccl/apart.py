"""Calls of MPI that have no deadline of their own, given one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from pyccl.farewell import forgo

__all__ = ["run_apart"]

T = TypeVar("T")


def run_apart(call: Callable[[], T], look: Callable[[], None]) -> T:
    """Return what `call` returns, run by a thread; `look`, called every 50 ms meanwhile, may raise.

    The thread is left behind then, and MPI is not finalized, which would wait for it.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True, name="pyccl MPI call")
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.05)
            look()
    except BaseException:
        if thread.is_alive():
            forgo()
        raise
    if errors:
        raise errors[0]
    return results[0]
