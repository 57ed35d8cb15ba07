"""Workers that share a link: processor sharing by virtual time, O(log n) an event."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyccl import _core
from pyccl.policy import Async
from pyccl.sim.quantity import Quantity, parse, positive


def push_pull(
    compute: ArrayLike, *, push: Quantity, pull: Quantity, bandwidth: Quantity, pull_bandwidth: Quantity | None = None
) -> NDArray[np.float64]:
    """Return when each worker ends that computes, pushes and pulls, round after round, without waiting for others.

    All pushes under way share one link equally, all pulls another: a parameter server's two directions.

    Parameters
    ----------
    compute : array of float, shape (workers, rounds)
        Seconds.
    push, pull : float or str
        Bytes of each.
    bandwidth, pull_bandwidth : float or str
        Bytes/s of the links; default for the second: as the first.

    Returns
    -------
    array of float, shape (workers,)
        Seconds.

    Raises
    ------
    ConfigError
        If a quantity is wrong.
    ValueError
        If `compute` has another shape, or times that are negative or not finite.

    Examples
    --------
    >>> push_pull([[1.0], [1.0]], push="1 GB", pull="1 GB", bandwidth="1 GB/s")
    array([5., 5.])
    """
    times = np.ascontiguousarray(compute, dtype=float)
    if times.ndim != 2 or not np.isfinite(times).all() or (times < 0).any():
        raise ValueError(f"compute must be finite times of at least 0 of shape (workers, rounds), got {times.shape}")
    up = positive(bandwidth, "rate", "bandwidth")
    down = up if pull_bandwidth is None else positive(pull_bandwidth, "rate", "pull_bandwidth")
    amounts = parse(push, "size", "push"), parse(pull, "size", "pull")
    if times.size == 0:
        return np.zeros(len(times))
    wires = _core.SimWires.uniform(len(times), *amounts, up, down, limit=np.inf, latency=0.0, apply=0.0)
    log = _core.sim_train(
        Async().rule(len(times)), wires, _core.SimSeconds.table(times), None, starts=np.empty(0), local_steps=1,
        rounds=times.shape[1], versions=0, horizon=np.inf, trace_rounds=0, most_rows=0, most_events=0,
    )  # fmt: skip
    finish: NDArray[np.float64] = log["finish"]
    return finish
