"""Prints the tables of docs/validation.md and draws its pictures, from measurements that are kept in files.

    python benchmarks/validation.py --traces DIR --calibration FILE.toml --links FILE.json --plots docs/_static

Needs the extra plot. DIR holds MODEL/placements.csv and MODEL/scalability.csv. Nothing is measured here:
`python -m pyccl.bench --calibrate` and benchmarks/shaped_links.py do that.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pyccl.sim.validate import validate_calibration, validate_links, validate_traces

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Print and draw what has been given."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--traces", type=Path)
    options.add_argument("--calibration", type=Path, default=RESULTS / "2026-11-23-calibration.toml")
    options.add_argument("--links", type=Path, default=RESULTS / "2026-11-23-shaped-links.json")
    options.add_argument("--plots", type=Path, help="folder for the pictures")
    given = options.parse_args()
    reports = {"collectives": validate_calibration(given.calibration), "links": validate_links(given.links)}
    if given.traces:
        reports = {"traces": validate_traces(given.traces), **reports}
    for name, report in reports.items():
        print(f"\n{report.title}\n\n{report.table()}")
        if given.plots:
            report.plot(given.plots / f"validation-{name}.png")


if __name__ == "__main__":
    main()
