"""What a communicator is opened with, read before anything is exchanged, and agreed upon after."""

from __future__ import annotations

from dataclasses import dataclass, field

from pyccl import config
from pyccl.bootstrap import Bootstrap
from pyccl.checks import flag, seconds
from pyccl.choice import check_overrides
from pyccl.errors import PeerAborted
from pyccl.tuning import Tuning

__all__ = ["Opening"]


@dataclass(frozen=True)
class Opening:
    """Checked settings and arguments.

    Attributes
    ----------
    settings : Settings
    timeout : float
        Seconds.
    deterministic : bool
    tuning : Tuning
    error : Exception or None
        Why this rank cannot open the communicator; the rest are defaults then, good enough to tell the peers.
    """

    settings: config.Settings = field(default_factory=config.Settings)
    timeout: float = field(default_factory=lambda: config.Settings().timeout)
    deterministic: bool = False
    tuning: Tuning = field(default_factory=Tuning.load)
    error: Exception | None = None

    @classmethod
    def read(cls, timeout: float | None, deterministic: bool) -> Opening:
        """Read the environment and check the arguments; raises nothing."""
        try:
            settings = config.load()
            limit = settings.timeout if timeout is None else seconds(timeout)
            flag(deterministic, "deterministic")
            check_overrides(settings.algorithm, deterministic=deterministic)
            return cls(settings, limit, deterministic, Tuning.load(settings.tuning))
        except (TypeError, ValueError) as error:  # ConfigError is a ValueError
            return cls(error=error)

    def agree(self, bootstrap: Bootstrap) -> None:
        """Raise this rank's error, or `PeerAborted` for another's, on all ranks alike. Collective."""
        said = "" if self.error is None else f"{type(self.error).__name__}: {self.error}"
        reasons = bootstrap.allgather(said.encode()) if bootstrap.size > 1 else []
        if self.error is not None:
            raise self.error
        for rank, data in enumerate(reasons):
            if data:
                reason = data.decode("utf-8", "replace")
                raise PeerAborted(rank, reason, f"rank {rank} could not open the communicator: {reason}")
