"""Prints the tables of docs/validation.md and draws its pictures, from measurements that are kept in files.

    python benchmarks/validation.py --traces DIR --calibration FILE.toml --links FILE.json --plots docs/_static

Needs the extra plot. DIR holds MODEL/placements.csv and MODEL/scalability.csv. Nothing is measured here:
`python -m pyccl.bench --calibrate` and benchmarks/shaped_links.py do that.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from pyccl.sim.step_model import fit_steps, plain_fit, pollux_fit
from pyccl.sim.step_traces import Steps, read_placements, read_scalability
from pyccl.sim.validate import FEWEST_NODES, validate_calibration, validate_links, validate_traces

RESULTS = Path(__file__).parent / "results"


FORMS = {
    "alpha-beta": plain_fit,
    "Pollux form": pollux_fit,
    "pyccl.sim": lambda known, wanted: fit_steps(known).predict(wanted),
}


def cross_validate(folder: Path) -> None:
    """Print mean errors of each form: between placements, where forms were chosen, and fitted to what is scored."""
    print("\n| model | form | 4 nodes from 1-3 | > 8 devices from 1-8 | >= 5 nodes | the same, fitted to themselves |")
    print("|---|---|---|---|---|---|")
    for path in sorted(folder.glob("*/placements.csv")):
        known, more = read_placements(path), read_scalability(path.with_name("scalability.csv"))
        more = more.where(more.nodes >= FEWEST_NODES)
        splits: list[tuple[Steps, Steps]] = [
            (known.where(known.nodes < 4), known.where(known.nodes == 4)),
            (known.where(known.devices <= 8), known.where(known.devices > 8)),
            (known, more),
        ]
        for name, form in FORMS.items():
            errors = [np.abs(form(a, b) / b.step - 1).mean() for a, b in splits]
            columns = zip(vars(known.where(known.devices == 1)).values(), vars(more).values(), strict=True)
            with_one_device = Steps(*(np.concatenate(pair) for pair in columns))
            errors.append(np.abs(form(with_one_device, more) / more.step - 1).mean())
            print(f"| {path.parent.name} | {name} | " + " | ".join(f"{error:.1%}" for error in errors) + " |")


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
    if given.traces:
        cross_validate(given.traces)


if __name__ == "__main__":
    main()
