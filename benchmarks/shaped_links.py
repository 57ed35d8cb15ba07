"""Times all_reduce between hosts with links of finite rate: what docs/validation.md compares with the simulator.

Needs root and iproute2 (tests/netns.sh); MPICH_VENV names an environment with MPICH::

    MPICH_VENV=/path/to/venv python benchmarks/shaped_links.py benchmarks/results/DATE-shaped-links.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TESTBED = ROOT / "tests" / "netns.sh"
HOSTS = (2, 3, 4)
RATES = (100, 300, 1000)
"""Mbit/s."""
SIZES = tuple(1 << k for k in (16, 18, 19, 20, 21, 22, 23))
ROUNDS = 5
DEADLINE = 300


def measure() -> None:
    """Be one rank: print the times of every size, the maximum over the ranks, as JSON on rank 0."""
    import numpy as np
    from mpi4py import MPI

    import pyccl

    times: dict[int, list[float]] = {n: [] for n in SIZES}
    with pyccl.Communicator(MPI.COMM_WORLD) as comm:
        for repeat in range(ROUNDS + 1):
            for nbytes in SIZES:
                x = np.ones(nbytes // 4, np.float32)
                comm.barrier()
                begin = perf_counter()
                out = comm.all_reduce(x)
                seconds = MPI.COMM_WORLD.allreduce(perf_counter() - begin, MPI.MAX)
                assert (out == comm.size).all()
                if repeat:  # the first round opens connections
                    times[nbytes].append(seconds)
    if MPI.COMM_WORLD.rank == 0:
        print("RESULT " + json.dumps(times), flush=True)


def run(hosts: int, rate: int) -> list[dict[str, Any]]:
    """Return the rows of one testbed, which is removed whatever happens."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = ["bash", str(TESTBED)]
    subprocess.run([*script, "up", str(hosts), f"{rate}mbit"], env=environment, check=True, timeout=60)
    try:
        done = subprocess.run(
            [*script, "mpich", "1", sys.executable, __file__, "--rank"],
            env=environment, check=True, timeout=DEADLINE, capture_output=True, text=True,
        )  # fmt: skip
    finally:
        subprocess.run([*script, "down"], env=environment, check=True, timeout=60)
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    return [
        {"hosts": hosts, "rate_bit_s": rate * 1e6, "bytes": int(n), "median_s": round(statistics.median(t), 7),
         "min_s": round(min(t), 7), "max_s": round(max(t), 7), "rounds": len(t)}
        for n, t in json.loads(line.removeprefix("RESULT ")).items()
    ]  # fmt: skip


def main() -> None:
    """Measure every testbed and write the file."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("file", nargs="?", type=Path)
    options.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    options.add_argument("--note", default="", help="what else the machine was doing")
    given = options.parse_args()
    if given.rank:
        measure()
        return
    rows = []
    for rate in RATES:
        for hosts in HOSTS:
            rows += run(hosts, rate)
            print(hosts, rate, [row["median_s"] for row in rows[-len(SIZES) :]], flush=True)
    text = json.dumps({
        "environment": {
            "date": date.today().isoformat(),
            "machine": f"{os.cpu_count()} cores; {given.note}" if given.note else f"{os.cpu_count()} cores",
            "command": "netns.sh up HOSTS RATE; netns.sh mpich 1: float32 all_reduce, maximum over the ranks",
        },
        "rows": rows,
    }, indent=1)  # fmt: skip
    given.file.write_text(text + "\n")


if __name__ == "__main__":
    main()
