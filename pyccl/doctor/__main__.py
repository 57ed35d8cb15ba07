"""`python -m pyccl.doctor`: what pyccl finds here, what is wrong, and how to mend it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence

from pyccl.doctor.facts import Facts, gather
from pyccl.doctor.findings import Finding, examine

_EXAMPLES = """examples:
  python -m pyccl.doctor                 this machine
  mpirun -n 4 python -m pyccl.doctor     and what the ranks of a run make of it
  python -m pyccl.doctor --json          for a bug report

The exit status is 0 if nothing is wrong, and 1 if there is a problem.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pyccl.doctor",
        description="Say what pyccl finds on this machine, what is wrong, and how to mend it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(argv)
    facts = gather(os.environ)
    findings = examine(facts)
    rank = 0
    if facts.launcher is not None and not any(finding.problem for finding in findings):
        rank, facts, findings = ask_the_run(facts)
    if rank == 0:
        print(as_json(facts, findings) if options.json else as_text(facts, findings), flush=True)
    return 1 if any(finding.problem for finding in findings) else 0


def ask_the_run(facts: Facts) -> tuple[int, Facts, list[Finding]]:
    """Join the other ranks: return this rank, what it found, and the findings of all. Collective."""
    import pyccl

    try:
        comm = pyccl.init(timeout=30)
    except pyccl.Error as error:
        return 0, facts, [Finding(f"pyccl.init() fails: {error}", "see above"), *examine(facts)]
    with comm:
        transport = comm.explain("all_reduce", 1 << 20).transport
        facts = dataclasses.replace(
            facts,
            world_size=comm.size,
            node_ranks=comm.node_size,
            transport=f"{transport} on {len(set(comm.nodes))} node(s)",
        )
        mine = json.dumps([dataclasses.asdict(finding) for finding in examine(facts)])
        everybody = comm._bootstrap.allgather(mine.encode())
    return comm.rank, facts, combine([[Finding(**row) for row in json.loads(text)] for text in everybody])


def combine(findings: Sequence[Sequence[Finding]]) -> list[Finding]:
    """Return the findings of all ranks once each, with the ranks that have them unless all do."""
    ranks: dict[Finding, list[int]] = {}
    for rank, found in enumerate(findings):
        for finding in found:
            ranks.setdefault(finding, []).append(rank)
    return [
        finding
        if len(who) == len(findings)
        else dataclasses.replace(finding, what=f"on rank(s) {', '.join(map(str, who))}: {finding.what}")
        for finding, who in ranks.items()
    ]


def _line(finding: Finding) -> str:
    return f"{'problem' if finding.problem else 'note'}: {finding.what}. Remedy: {finding.remedy}"


def as_text(facts: Facts, findings: Sequence[Finding]) -> str:
    """Return the report for people."""
    width = max(len(name) for name, _ in rows(facts))
    lines = [f"{name:<{width}}  {value}" for name, value in rows(facts)]
    return "\n".join([*lines, "", *(map(_line, findings) if findings else ["nothing is wrong"])])


def as_json(facts: Facts, findings: Sequence[Finding]) -> str:
    """Return the report for programs."""
    shown = {"facts": dataclasses.asdict(facts), "findings": [dataclasses.asdict(finding) for finding in findings]}
    return json.dumps(shown, indent=1)


def rows(f: Facts) -> list[tuple[str, str]]:
    """Return the facts as names and texts."""
    works = {"": "yes"}
    mib = "unlimited" if f.locked_memory is None else f"{f.locked_memory >> 20} MiB"
    shm = "none" if f.shm_bytes is None or f.shm_free is None else f"{f.shm_free >> 20} of {f.shm_bytes >> 20} MiB free"
    services = {
        name: getattr(f.kernel, name) for name in ("memfd", "peer_memory", "pidfd", "futex", "process_vm_readv")
    }
    launched = "none" if f.launcher is None else f"{f.launcher[0]}, {f.launcher[1]} ranks"
    return [
        ("pyccl", f"{f.pyccl}, {f.extension or 'no extension'}"),
        ("kernels", f.isa or "unknown"),
        ("Python", f.python),
        ("packages", ", ".join(f"{name} {version}" for name, version in f.packages.items())),
        ("MPI", f.mpi.version or "none"),
        ("mpirun", f"{f.mpirun} ({family_of(f)})" if f.mpirun else "none"),
        ("launcher", launched + (f"; MPI sees {f.world_size}" if f.world_size is not None else "")),
        ("transport", f.transport or "run it under mpirun to see"),
        ("cores", f"{f.affinity} of {f.cores}, cgroup quota {'none' if f.quota is None else f'{f.quota:g}'}"),
        ("autogroup", "on" if f.autogroup else "off"),
        ("/dev/shm", shm),
        ("limits", f"{f.open_files} open files, {mib} locked memory"),
        ("Linux", f.kernel.release),
        ("  may use", ", ".join(f"{name}: {works.get(why, why)}" for name, why in services.items())),
        ("huge pages", f"of shared memory: {f.huge_pages or 'unknown'}"),
        ("CUDA", f.cuda or "none"),
        ("tuning", f.tuning or "unknown"),
    ]


def family_of(f: Facts) -> str:
    """Return the MPI that mpirun belongs to."""
    from pyccl.doctor.findings import family

    return family(f.mpirun_version) or "of an unknown MPI"


if __name__ == "__main__":
    sys.exit(main())
