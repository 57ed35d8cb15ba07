"""`validate`: predictions beside measurements."""

from __future__ import annotations

from argparse import Namespace

from pyccl.errors import ConfigError
from pyccl.sim.validate import Report, validate_calibration, validate_traces

from .progress import spinner
from .tables import say, show


def main(arguments: Namespace) -> int:
    """Fit on a part, predict the rest, print the errors, and write the files asked for."""
    if (arguments.calibration is None) == (arguments.traces is None):
        raise ConfigError("give either a calibration, such as here.toml, or --traces DIR")
    with spinner("fitting"):
        if arguments.traces is not None:
            report = validate_traces(arguments.traces)
        else:
            report = validate_calibration(arguments.calibration)
    _print(report)
    for write, path in ((report.to_json, arguments.json), (report.plot, arguments.plot)):
        if path:
            write(path)
    return 0


def _print(report: Report) -> None:
    document = report.document()
    kinds = [key for key in document["models"][0] if key.endswith("_error")]
    rows = [
        (row["name"], str(row["rows"]), *(f"{row[kind]:.1%}" for kind in kinds)) for row in document["models"]
    ]  # fmt: skip
    head = [kind.removesuffix("_error").replace("_", " ") for kind in kinds]
    show(f"errors of predictions, {report.title}", ("", "rows", *head), rows)
    for note in report.notes:
        say(f"note: {note}")
    say(f"Mean error over all rows: {document['pooled_mean_error']:.1%}.")
