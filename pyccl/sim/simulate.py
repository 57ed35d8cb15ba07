"""Training on a cluster, in virtual time."""

from __future__ import annotations

from pyccl.errors import ConfigError
from pyccl.sim.cluster import Cluster
from pyccl.sim.cosimulation import Problem, cosimulate
from pyccl.sim.job import Job, Strategy
from pyccl.sim.model import Model
from pyccl.sim.recovery import Recovery, with_failures
from pyccl.sim.strategies import parse
from pyccl.sim.training_result import Result
from pyccl.sim.workers import Workers

MOST_STEPS = 1 << 26
MOST_SEED = (1 << 64) - 1


def simulate(
    cluster: Cluster,
    model: Model,
    strategy: str | Strategy,
    *,
    workers: Workers | None = None,
    recovery: Recovery | None = None,
    steps: int = 100,
    seed: int = 0,
    trace_steps: int = 0,
    problem: Problem | None = None,
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
    recovery : Recovery, optional
        What is done when something fails; default: a restart from the last checkpoint, where `workers` fail.
    steps : int, default 100
        Iterations of each worker.
    seed : int, default 0
        The same seed gives the same bits.
    trace_steps : int, default 0
        Of so many first steps `Result` keeps what each worker did when.
    problem : Problem, optional
        Its gradients are computed on the versions, and applied in the order, that the simulation has found;
        `Result.losses` is then the loss against simulated time.

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
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= MOST_SEED:
        raise ConfigError(f"seed must be a whole number from 0 to 2^64 - 1, got {seed!r}")
    chosen = parse(strategy) if isinstance(strategy, str) else strategy
    alike = isinstance(workers, Workers) and workers.alike  # then they need not be told apart, step by step
    job = Job(cluster, model, None if alike else workers, steps, seed, trace_steps)
    run = chosen.run(job)
    if isinstance(workers, Workers) and workers.fails:
        run = with_failures(run, workers, cluster, recovery or Recovery(), seed).run
    return Result(job, chosen, run, None if problem is None else cosimulate(job, run, problem))
