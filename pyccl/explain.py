"""Why a call runs the way it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyccl.checks import integer
from pyccl.collectives import COLLECTIVES

if TYPE_CHECKING:
    import numpy as np

    from pyccl.communicator import Communicator

__all__ = ["Explanation"]


@dataclass(frozen=True)
class Explanation:
    """The answer of `Communicator.explain`; print it.

    Attributes
    ----------
    collective : str
    nbytes : int
        Of the large side.
    dtype : str
    algorithm : str
        For private arrays.
    registered_algorithm : str or None
        For arrays from `comm.empty()`; None where they make no difference.
    transport : str
        "shm", "mpi", "shm+mpi" or "none".
    reason : str
    """

    collective: str
    nbytes: int
    dtype: str
    algorithm: str
    registered_algorithm: str | None
    transport: str
    reason: str

    @classmethod
    def of(cls, comm: Communicator, collective: str, nbytes: int, dtype: np.dtype[Any]) -> Explanation:
        """Look up what `comm` would do."""
        if collective not in COLLECTIVES:
            raise ValueError(f"collective must be one of {', '.join(COLLECTIVES)}, got {collective!r}")
        nbytes = integer(nbytes, "nbytes", 0, 2**62)
        code = COLLECTIVES[collective].code
        core, m = comm._core, comm._membership
        name = core.algorithm_name(core.choose(code, False, nbytes))
        nodes = len(set(comm.nodes))
        if comm.size == 1:
            transport, why = "none", "one rank: a copy at most"
        elif nodes == 1:
            transport = "shm"
            why = f"all {comm.size} ranks have mapped one segment"
        else:
            transport = "mpi" if nodes == comm.size else "shm+mpi"
            why = f"{comm.size} ranks on {nodes} nodes, {comm.node_size} of them here"
        if transport != "none":
            crowded = f"yield {m.yields} times, then block" if m.yields else "block at once"
            how = crowded if m.crowded else "poll, then block"
            why += f"; {comm.node_size} ranks on {m.cores} cores: waiters {how}"
        forced = comm._opening.settings.algorithm.get(collective)
        why += f"; {'PYCCL_ALGORITHM names the algorithm' if forced else 'thresholds from ' + comm.tuning.source}"
        registered = core.algorithm_name(core.choose(code, True, nbytes)) if transport == "shm" else None
        return cls(collective, nbytes, dtype.name, name, registered, transport, why)

    def __str__(self) -> str:
        how = "nothing to move" if self.transport == "none" else f"{self.algorithm} over {self.transport}"
        text = f"{self.collective} of {self.nbytes} bytes of {self.dtype}: {how}"
        if self.registered_algorithm:
            text += f" (registered arrays: {self.registered_algorithm}, without staging)"
        return f"{text}\n  because {self.reason}"
