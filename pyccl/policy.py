"""Consistency rules: who may go on, and what becomes of a gradient.

A policy holds parameters; `rule` makes the state machine for a number of workers. It has no clock and does no I/O, so
the simulator and a server ask the same object.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from pyccl import _core
from pyccl.errors import ConfigError


class Policy(ABC):
    """Parameters of a consistency rule."""

    @abstractmethod
    def rule(self, workers: int) -> _core.PolicyRule:
        """Return the rule's state machine for `workers` workers, at version 0.

        A worker requests to go on (``request(worker)``; False: it will be in ``released`` after a later call), begins
        (``begin(worker)`` returns the version that it reads), pushes (``push(worker)`` returns a verdict: ``fate`` is
        "applied", "held" or "dropped"; ``staleness``; ``weight``), and so on, until it leaves (``leave(worker)``).
        ``released`` are the workers whom the last push or leave lets go on, and those whose work it has made outdated.

        Raises
        ------
        ConfigError
            If there are too few workers.
        """


@dataclass(frozen=True)
class Sync(Policy):
    """A version is the mean of the first ``workers - backup`` gradients computed on the one before; others are dropped.

    Workers that are late give up and start on the new version (J. Chen et al., "Revisiting distributed
    synchronous SGD", 2016).

    Examples
    --------
    >>> rule = Sync(backup=1).rule(2)
    >>> [rule.request(worker) and rule.begin(worker) for worker in (0, 1)]
    [0, 0]
    >>> rule.push(1).fate, rule.version, rule.released, rule.push(0).fate
    ('applied', 1, [0], 'dropped')
    """

    backup: int = 0

    def __post_init__(self) -> None:
        _check("Sync", "backup", self.backup)

    def rule(self, workers: int) -> _core.PolicyRule:
        if workers <= self.backup:
            raise ConfigError(f"a backup of {self.backup} needs more than {self.backup} workers, got {workers}; "
                              f"write at most {workers - 1}")  # fmt: skip
        return _core.PolicyRule.quorum(workers, workers - self.backup, labelled=True, waits=True, weighting="equal")


@dataclass(frozen=True)
class Async(Policy):
    """Every gradient makes a version, and nobody waits.

    With `max_staleness` a gradient on which more versions than that have been made is dropped; or, if `beyond` is
    "wait", a worker begins only when no gradient can become so stale, by it or anybody else. `weighting` makes the
    rate fall with staleness s: "inverse" multiplies a gradient by 1 / max(1, s) (W. Zhang et al., "Staleness-aware
    async-SGD for distributed deep learning", 2015, https://doi.org/10.48550/arXiv.1511.05950), "inverse_root" by
    1 / sqrt(1 + s). Under optimisers that divide by the gradient's own size (Adam and its kin) that changes little.

    Examples
    --------
    >>> rule = Async(weighting="inverse").rule(3)
    >>> [rule.request(worker) and rule.begin(worker) for worker in range(3)]
    [0, 0, 0]
    >>> [rule.push(worker).weight for worker in range(3)]
    [1.0, 1.0, 0.5]
    """

    max_staleness: int | None = None
    beyond: str = "drop"
    weighting: str = "equal"

    def __post_init__(self) -> None:
        if self.max_staleness is not None:
            _check("Async", "max_staleness", self.max_staleness)
        if self.beyond not in ("drop", "wait"):
            raise ConfigError(f"Async: beyond must be 'drop' or 'wait', got {self.beyond!r}")
        if self.weighting not in ("equal", "inverse", "inverse_root"):
            raise ConfigError(f"Async: weighting must be 'equal', 'inverse' or 'inverse_root', got {self.weighting!r}")

    def rule(self, workers: int) -> _core.PolicyRule:
        waits = self.beyond == "wait" and self.max_staleness is not None
        return _core.PolicyRule.free(workers, self.max_staleness, waits, self.weighting)


@dataclass(frozen=True)
class SSP(Policy):
    """A worker begins iteration c when all have ended c - staleness (Q. Ho et al., "More effective distributed ML
    via a stale synchronous parallel parameter server", 2013); one that has left is infinitely far ahead.

    0 is bulk synchronous. It absorbs jitter, never a worker that is always slow.
    """

    staleness: int

    def __post_init__(self) -> None:
        _check("SSP", "staleness", self.staleness)

    def rule(self, workers: int) -> _core.PolicyRule:
        return _core.PolicyRule.clocks(workers, self.staleness)


@dataclass(frozen=True)
class BoundedDelay(Policy):
    """Task t may start when all tasks up to t - tau - 1 have finished (M. Li et al., "Scaling distributed machine
    learning with the parameter server", 2014), a task being an iteration of all workers.

    The gate is then that of ``SSP(tau)``; 0 is sequential.
    """

    tau: int

    def __post_init__(self) -> None:
        _check("BoundedDelay", "tau", self.tau)

    def rule(self, workers: int) -> _core.PolicyRule:
        return _core.PolicyRule.clocks(workers, self.tau)


@dataclass(frozen=True)
class KAsync(Policy):
    """A version is made of any `k` gradients, stale ones too; who has given one waits for it, others work on."""

    k: int

    def __post_init__(self) -> None:
        _check("KAsync", "k", self.k, least=1)

    def rule(self, workers: int) -> _core.PolicyRule:
        if workers < self.k:
            raise ConfigError(
                f"k_async of k = {self.k} needs at least {self.k} workers, got {workers}; write k of at most {workers}"
            )
        return _core.PolicyRule.quorum(workers, self.k, labelled=False, waits=True, weighting="equal")


@dataclass(frozen=True)
class SoftSync(Policy):
    """n-softsync (W. Zhang et al., "Staleness-aware async-SGD for distributed deep learning", 2015): a version of
    every ``workers // n`` gradients, each weighted by 1 / max(1, staleness).

    Nobody waits; the mean staleness is about n.
    """

    n: int = 1

    def __post_init__(self) -> None:
        _check("SoftSync", "n", self.n, least=1)

    def rule(self, workers: int) -> _core.PolicyRule:
        if workers < self.n:
            raise ConfigError(
                f"softsync of n = {self.n} needs at least {self.n} workers, got {workers}; write n of at most {workers}"
            )
        return _core.PolicyRule.quorum(workers, workers // self.n, labelled=False, waits=False, weighting="inverse")


@dataclass(frozen=True)
class FedBuff(Policy):
    """A version of every `k` gradients, each weighted by 1 / sqrt(1 + staleness); nobody waits (J. Nguyen et al.,
    "Federated learning with buffered asynchronous aggregation", 2022).
    """

    k: int

    def __post_init__(self) -> None:
        _check("FedBuff", "k", self.k, least=1)

    def rule(self, workers: int) -> _core.PolicyRule:
        return _core.PolicyRule.quorum(workers, self.k, labelled=False, waits=False, weighting="inverse_root")


def _check(name: str, field: str, value: object, least: int = 0) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 1 << 31:
        raise ConfigError(f"{name}: {field} must be a whole number of at least {least}, got {value!r}")
