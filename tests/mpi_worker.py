"""Runs all checks of a test module on one rank: `mpirun -n N python -m tests.mpi_worker MODULE FOLDER`."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from mpi4py import MPI

import pyccl
from tests import mpi


def run_one(function: mpi.Function, arguments: tuple[Any, ...]) -> str:
    """Call a check; return its traceback, or nothing if it passed."""
    try:
        function(*arguments)
    except (Exception, pytest.fail.Exception):
        return traceback.format_exc()
    return ""


def main(module: str, folder: str) -> None:
    world, comm = MPI.COMM_WORLD, None
    checks = mpi.expand(vars(importlib.import_module(module)), world.size)
    with (Path(folder) / f"{world.rank}.jsonl").open("w", buffering=1) as results:
        for name, (function, case) in checks.items():
            wants_comm = "comm" in inspect.signature(function).parameters
            if wants_comm and comm is None:
                comm = pyccl.Communicator(world)
            error = run_one(function, (comm, *case) if wants_comm else case)
            results.write(json.dumps({"name": name, "error": error}) + "\n")
            if not all(world.allgather(not error)) and comm is not None:
                with contextlib.suppress(pyccl.Error):
                    comm.close()
                comm = None  # the next check must not suffer from this one


if __name__ == "__main__":
    main(*sys.argv[1:])
