"""Which mpirun has started this process, by its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Launcher", "find_launcher", "launched_rank"]


@dataclass(frozen=True)
class Launcher:
    """Who started this process as one of `size` ranks, and the environment variable that says so."""

    name: str
    size: int
    variable: str
    foreign: tuple[str, ...] = ()  # in the versions of MPI libraries that it cannot start


_RANKS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID")
_HYDRA = "hydra (the mpirun of MPICH and Intel MPI)"
_LAUNCHERS = {
    "OMPI_COMM_WORLD_SIZE": ("the mpirun of Open MPI", ("MPICH", "Intel(R) MPI", "MVAPICH")),
    "PMI_SIZE": (_HYDRA, ("Open MPI",)),
    "SLURM_STEP_NUM_TASKS": ("srun", ()),
}


def find_launcher(environ: Mapping[str, str] = os.environ) -> Launcher | None:
    """Return what the environment says about the launcher; None if it says nothing.

    Examples
    --------
    >>> find_launcher({"PMI_SIZE": "4"}).size
    4
    """
    for variable, (name, foreign) in _LAUNCHERS.items():
        text = environ.get(variable, "")
        if text.isdecimal():
            return Launcher(name, int(text), variable, foreign)
    return None


def launched_rank(environ: Mapping[str, str] = os.environ) -> int | None:
    """Return the rank that the launcher gave this process, known before MPI has started; None without a launcher.

    Examples
    --------
    >>> launched_rank({"PMI_RANK": "3"})
    3
    """
    for variable in _RANKS:
        text = environ.get(variable, "")
        if text.isdecimal():
            return int(text)
    return None
