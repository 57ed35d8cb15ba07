"""The simulator beside SimPy and SimGrid: a ring all_reduce on a switch (A) and a parameter server (B);
and alone: 10,000 synchronous steps (T), and a sweep of configurations (S).

    python benchmarks/simulator.py [--simpy PYTHON] [--simgrid] [--ranks 8,64,256,1024] [--json FILE]

Each figure is CPU seconds of one core, the least of `--repeat` runs, and beside it the answer. SimPy runs in its own
interpreter; SimGrid's side is C++, built here (Debian: libsimgrid-dev). A peer has a limit.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pyccl import __version__, sim
from pyccl.sim import Cluster

HERE = Path(__file__).parent


def least(function: Callable[[], float], repeat: int) -> tuple[float, float]:
    """Return the least CPU seconds of `function`, and what it returned."""
    seconds, answer = [], 0.0
    for _ in range(repeat):
        begin = time.process_time()
        answer = function()
        seconds.append(time.process_time() - begin)
    return min(seconds), answer


def ring(ranks: int, fidelity: str, jitter: float = 0.0) -> float:
    """Return the simulated seconds of scenario A."""
    cluster = Cluster.switch(hosts=ranks, nic="12.5 GB/s", latency="1 us")
    starts = np.random.default_rng(1).random(ranks) * jitter if jitter else None
    result = sim.simulate_collective(
        cluster, "all_reduce", "64 MiB", algorithm="ring", fidelity=fidelity, starts=starts
    )
    return result.time


def server(workers: int) -> float:
    """Return the simulated seconds of scenario B."""
    i, k = np.arange(workers)[:, None], np.arange(10)
    compute = 0.1 + 0.2 * ((7919 * i + 104729 * k) % 1000) / 1000
    return float(sim.push_pull(compute, push="100 MB", pull="100 MB", bandwidth="12.5 GB/s").max())


def training(workers: int) -> float:
    """Return the simulated seconds of 10,000 synchronous steps with random workers, one of them slow (scenario T)."""
    cluster = Cluster.switch(hosts=workers, nic="12.5 GB/s", latency="1 us")
    model = sim.Model.preset("resnet50", device="A100")
    random = sim.Workers(compute="lognormal(cv=0.15)", slow={7: 1.3})
    return sim.simulate(cluster, model, "ring", workers=random, steps=10_000).makespan


def sweep(configurations: int) -> float:
    """Return the least simulated seconds of a step among clusters, strategies and bucket sizes (scenario S)."""
    model = sim.Model.preset("bert-large", device="A100")
    strategies = [f"{name}:{size} MB" for name in ("ring", "hierarchical") for size in (1, 5, 25, 50, 100)]
    strategies += ["zero1", "zero3", "hybrid", "local_sgd:4", "local_sgd:16", "tensor:2", "tensor:4", "tensor:8",
                   "1f1b(stages=2, micro_batches=8)", "gpipe(stages=2, micro_batches=8)"]  # fmt: skip
    best = float("inf")
    for index in range(configurations // len(strategies)):
        cluster = Cluster.fat_tree(hosts=2 + index % 63, gpus_per_host=8, nic=f"{100 + index} Gbit/s", latency="3 us",
                                   oversubscription=2)  # fmt: skip
        for strategy in strategies:
            best = min(best, sim.simulate(cluster, model, strategy, steps=100).step_time)
    return best


def peer(command: list[str], scenario: str, n: int, limit: float) -> dict[str, Any]:
    """Run a peer's side; one that needs more than `limit` seconds is not waited for."""
    try:
        done = subprocess.run([*command, scenario, str(n)], capture_output=True, text=True, timeout=limit, check=True)
    except subprocess.TimeoutExpired:
        return {"seconds": f"> {limit:g}"}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def build_simgrid(folder: str) -> list[str]:
    """Return the command of SimGrid's side, built in `folder`."""
    program = str(Path(folder) / "simgrid")
    source = str(HERE / "simulator_simgrid.cc")
    subprocess.run(["g++", "-O2", source, "-lsimgrid", "-o", program], check=True)
    return [program]


def rows(ranks: list[int], repeat: int, peers: dict[str, list[str]], limit: float) -> list[dict[str, Any]]:
    """Run everything; return one row per scenario, way and size."""
    ways: list[tuple[str, str, Callable[[int], float], list[int]]] = [
        ("A", "events", lambda n: ring(n, "events"), ranks),
        ("A", "events, jittered starts", lambda n: ring(n, "events", 1e-3), ranks),
        ("A", "static", lambda n: ring(n, "static"), [*ranks, 16_384, 100_000]),
        ("B", "processor sharing", server, [*ranks, 100_000]),
        ("T", "10,000 steps", training, [1000]),
        ("S", "configurations", sweep, [1000]),
    ]
    found = []
    for scenario, way, function, sizes in ways:
        for n in sizes:
            seconds, answer = least(lambda: function(n), repeat)  # noqa: B023, called at once
            found.append(
                {"scenario": scenario, "who": "pyccl", "way": way, "n": n, "seconds": seconds, "answer": answer}
            )
            print_row(found[-1])
    for who, command in peers.items():
        for scenario in "AB":
            for n in ranks:
                row = {"scenario": scenario, "who": who, "way": "events", "n": n}
                found.append({**row, **peer(command, scenario, n, limit)})
                print_row(found[-1])
    return found


def print_row(row: dict[str, Any]) -> None:
    """Print one row of the table."""
    seconds = row["seconds"] if isinstance(row["seconds"], str) else f"{row['seconds']:.3g}"
    answer = f"{row['answer']:.9f}" if "answer" in row else "-"
    print(
        f"{row['scenario']}  {row['who']:7} {row['way']:24} {row['n']:7d}  {seconds:>9} s  answer {answer} s",
        flush=True,
    )


def processor() -> str:
    """Return the processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simpy", help="an interpreter that has SimPy (default: none, pyccl alone)")
    parser.add_argument("--simgrid", action="store_true", help="build and run SimGrid's side (g++, libsimgrid)")
    parser.add_argument("--ranks", default="8,64,256,1024")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for one run of a peer")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    ranks = [int(n) for n in options.ranks.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        peers = {"simpy": [options.simpy, str(HERE / "simulator_simpy.py")]} if options.simpy else {}
        if options.simgrid:
            peers["simgrid"] = build_simgrid(folder)
        table = rows(ranks, options.repeat, peers, options.limit)
    document = {
        "command": f"python benchmarks/simulator.py {' '.join(sys.argv[1:])}".replace(options.simpy or "\0", "PYTHON"),
        "date": time.strftime("%Y-%m-%d"), "cpu": processor(), "python": platform.python_version(),
        "pyccl": __version__, "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "rows": table,
    }  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
