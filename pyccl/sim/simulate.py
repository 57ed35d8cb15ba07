"""Training on a cluster, in virtual time."""

from __future__ import annotations

from typing import Any

from pyccl.errors import ConfigError
from pyccl.sim.cluster import Cluster
from pyccl.sim.job import Job, Strategy
from pyccl.sim.model import Model
from pyccl.sim.strategies import parse
from pyccl.sim.training_result import Result

MOST_STEPS = 1 << 26


def simulate(
    cluster: Cluster,
    model: Model,
    strategy: str | Strategy,
    *,
    workers: Any = None,
    steps: int = 100,
    seed: int = 0,
    trace_steps: int = 0,
) -> Result:
    """Train `model` on `cluster` in virtual time.

    Parameters
    ----------
    cluster : Cluster
        Its devices are the workers, and servers where the strategy has dedicated ones.
    model : Model
    strategy : str or Strategy
        Such as "ring", "ssp:3", "ps_async(servers=4)"; see `pyccl.sim.strategies`.
    workers : Workers, optional
        How fast each is, and when it fails; default: all alike.
    steps : int, default 100
        Iterations of each worker.
    seed : int, default 0
        The same seed gives the same bits.
    trace_steps : int, default 0
        Of so many first steps `Result` keeps what each worker did when.

    Returns
    -------
    Result

    Raises
    ------
    ConfigError
        If the strategy is unknown or does not suit the cluster, or a number is out of range.
    """
    for key, value, least in (("steps", steps, 1), ("trace_steps", trace_steps, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MOST_STEPS:
            raise ConfigError(f"{key} must be a whole number from {least} to {MOST_STEPS}, got {value!r}")
    chosen = parse(strategy) if isinstance(strategy, str) else strategy
    job = Job(cluster, model, workers, steps, seed, trace_steps)
    return Result(job, chosen, chosen.run(job))
