"""Elastic averaging over a parameter server."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyccl.arrays import NumpyArray, resolve
from pyccl.errors import ConfigError
from pyccl.optim import SGD
from pyccl.policy import Async, Policy, Sync
from pyccl.server.parameter_server import ParameterServer

__all__ = ["Elastic"]


class Elastic:
    """EASGD: each worker trains parameters of its own, which a common center pulls at, and they at it. Collective.

    Every few local steps a worker calls `exchange`: with d = alpha (x - center), x loses d and the center gains it
    (S. Zhang, A. Choromanska, Y. LeCun, "Deep learning with elastic averaging SGD", 2015,
    https://doi.org/10.48550/arXiv.1412.6651). The sum of the center and all workers' parameters stays, to rounding; d
    is pushed like a gradient, so a server that dies costs nothing and nothing is applied twice.

    Parameters
    ----------
    ps : ParameterServer
        Gets a dense table of that name, whose parameters are the center; `ps.pull(name)` reads it.
    name : str
    init : array of float32
        The center's begin, the same on every rank.
    alpha : float
        Above 0 and below 1: learning rate × elasticity. The paper's choice is 0.9 over the number of workers.
    consistency : Async or Sync, default Async()
        `Async()`: one by one, as they come; a center that others have moved between a worker's reading and its turn is
        moved further. `Sync()`: all workers together, on the same center; all must take part until they finish.

    Raises
    ------
    ConfigError
        If `alpha` or `consistency` is none of these; or as for `ParameterServer.table`.

    Examples
    --------
    >>> elastic = pyccl.server.Elastic(ps, "center", init=x, alpha=0.9 / 8)    # doctest: +SKIP
    >>> for step, batch in enumerate(data):                                    # doctest: +SKIP
    ...     x -= rate * gradient(x, batch)
    ...     if step % 4 == 0:
    ...         elastic.exchange(x)
    """

    def __init__(
        self, ps: ParameterServer, name: str, *, init: Any, alpha: float, consistency: Policy | None = None
    ) -> None:
        policy = Async() if consistency is None else consistency
        if policy not in (Async(), Sync()):
            raise ConfigError(f"Elastic: consistency must be pyccl.Async() or pyccl.Sync(), got {policy!r}")
        if not isinstance(alpha, (int, float)) or not 0 < alpha < 1:
            raise ConfigError(f"Elastic: alpha must be above 0 and below 1, got {alpha!r}")
        self._ps, self._name, self._alpha = ps, name, np.float32(alpha)
        # Under Sync the server takes the mean of what is pushed; the center gains the sum.
        self._times = np.float32(len(ps.workers) if policy == Sync() else 1)
        ps.table(name, init=init, optimizer=SGD(1.0), consistency=policy)

    def exchange(self, parameters: Any) -> None:
        """Let a worker's parameters and the center pull at each other. `parameters` change in place.

        Parameters
        ----------
        parameters : writable array of float32
            Of the center's shape.

        Raises
        ------
        TypeError, ValueError
            If they are not of that kind, or not finite. Nothing has changed then.
        Timeout, ServerLost
            As for `ParameterServer.pull` and `push`. `parameters` have not changed; the center may have.
        """
        own: NumpyArray = resolve(parameters, "parameters")
        if own.dtype != np.float32:
            raise TypeError(f"parameters must be float32, got {own.dtype}")
        if not own.flags.writeable:
            raise ValueError("parameters are read-only")
        center = self._ps.pull(self._name)
        if center.shape != own.shape:
            raise ValueError(f"parameters must have shape {center.shape}, got {own.shape}")
        force = self._alpha * (own - center)
        self._ps.push(self._name, force * -self._times)
        own -= force
