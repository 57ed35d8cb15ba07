"""Processor sharing: the golden makespans of an asynchronous parameter server, and laws."""

from __future__ import annotations

import numpy as np
import pytest

from pyccl.errors import ConfigError
from pyccl.sim import push_pull

GOLDEN = {1: 2.121, 8: 2.273, 64: 6.107801978, 256: 24.204636840, 1024: 105.661105583}


def compute(workers: int) -> np.ndarray:
    i, k = np.arange(workers)[:, None], np.arange(10)
    return 0.1 + 0.2 * ((7919 * i + 104729 * k) % 1000) / 1000


@pytest.mark.parametrize("workers", GOLDEN)
def test_scenario_b(workers: int) -> None:
    finish = push_pull(compute(workers), push="100 MB", pull="100 MB", bandwidth="12.5 GB/s")
    assert finish.shape == (workers,)
    assert finish.max() == pytest.approx(GOLDEN[workers], abs=5e-10)
    again = push_pull(compute(workers), push="100 MB", pull="100 MB", bandwidth="12.5 GB/s")
    assert finish.tobytes() == again.tobytes()


def test_equal_workers_end_together_and_the_link_is_never_idle() -> None:
    finish = push_pull(np.zeros((50, 3)), push=2.0, pull=0.0, bandwidth=10.0)
    assert finish == pytest.approx(np.full(50, 50 * 3 * 2 / 10))


def test_nothing_to_do() -> None:
    assert push_pull(np.zeros((3, 0)), push=1.0, pull=1.0, bandwidth=1.0).tolist() == [0, 0, 0]
    assert push_pull(np.zeros((0, 3)), push=1.0, pull=1.0, bandwidth=1.0).shape == (0,)


@pytest.mark.parametrize("times", [[1.0], [[np.nan]], [[-1.0]], [[np.inf]]])
def test_bad_times(times: object) -> None:
    with pytest.raises(ValueError, match="compute"):
        push_pull(times, push=1.0, pull=1.0, bandwidth=1.0)  # type: ignore[arg-type]


def test_bad_quantities() -> None:
    with pytest.raises(ConfigError, match="above 0"):
        push_pull([[1.0]], push="1 MB", pull="1 MB", bandwidth="0 GB/s")
