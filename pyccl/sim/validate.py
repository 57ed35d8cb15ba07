"""Predicted against measured: training steps on more nodes than were fitted, and pyccl's own collectives."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyccl.errors import ConfigError
from pyccl.sim.calibration import fit_network, load
from pyccl.sim.cluster import Cluster
from pyccl.sim.collective import simulate_collective
from pyccl.sim.step_model import PRIOR, fit_steps, plain_fit, pollux_fit
from pyccl.sim.step_traces import Floats, Steps, read_placements, read_scalability

__all__ = ["Comparison", "Report", "validate_calibration", "validate_links", "validate_traces"]

FEWEST_NODES = 5
FIT_RANKS = (2, 4)
LINK_SIZES = (1 << 18, 1 << 22)
"""Bytes on which a testbed of shaped links is calibrated."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Predicted and measured seconds of one set of rows, each of shape (rows,).

    `beside` holds predictions of simpler forms, by name.
    """

    name: str
    predicted: Floats
    measured: Floats
    beside: Mapping[str, Floats]

    @property
    def errors(self) -> Floats:
        """|predicted - measured| / measured, shape (rows,)."""
        return _errors(self.predicted, self.measured)


def _errors(predicted: Floats, measured: Floats) -> Floats:
    return np.abs(predicted - measured) / measured


@dataclass(frozen=True, eq=False)
class Report:
    """What `validate_traces` and `validate_calibration` return.

    Attributes
    ----------
    parts : tuple of Comparison
    title : str
    notes : tuple of str
        What the reader should know of the fits.
    """

    parts: tuple[Comparison, ...]
    title: str
    notes: tuple[str, ...] = ()

    @property
    def pooled_mean_error(self) -> float:
        """Mean relative error over all rows."""
        return float(np.mean(np.concatenate([part.errors for part in self.parts])))

    def document(self) -> dict[str, Any]:
        """Return what `to_json` writes: errors are fractions of what was measured."""
        models = [
            {
                "name": part.name,
                "mean_error": float(part.errors.mean()),
                "p90_error": float(np.quantile(part.errors, 0.9)),
                "rows": len(part.measured),
            }
            for part in self.parts
        ]
        return {"models": models, "pooled_mean_error": self.pooled_mean_error}

    def to_json(self, path: str | Path) -> None:
        """Write the errors to a file."""
        Path(path).write_text(json.dumps(self.document(), indent=1) + "\n", encoding="utf-8")

    def table(self) -> str:
        """Return the errors as a Markdown table, in per cent."""
        names = list(self.parts[0].beside)
        head = ["", "rows", "median", "mean", "p90", *(f"{name}, mean" for name in names)]
        lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        lines += [_line(p.name, p.errors, [_errors(p.beside[n], p.measured) for n in names]) for p in self.parts]
        if len(self.parts) > 1:
            every = [np.concatenate([_errors(p.beside[n], p.measured) for p in self.parts]) for n in names]
            lines.append(_line("all rows", np.concatenate([p.errors for p in self.parts]), every))
        return "\n".join(lines)

    def plot(self, path: str | Path) -> None:
        """Draw predicted against measured seconds, a panel a part; the file's ending says the format.

        Raises
        ------
        ConfigError
            If matplotlib (the extra `plot`) is missing.
        """
        try:
            from matplotlib.figure import Figure
            from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter
        except ImportError:
            raise ConfigError("plot draws with matplotlib: install the extra plot") from None
        figure = Figure(figsize=(3.4 * len(self.parts), 3.6), layout="constrained")
        for axes, part in zip(np.atleast_1d(figure.subplots(1, len(self.parts))), self.parts, strict=True):
            both = np.concatenate([part.measured, part.predicted])
            ends = np.array([both.min() / 1.1, both.max() * 1.1])
            axes.fill_between(ends, ends / 1.1, ends * 1.1, color="0.9", linewidth=0)
            axes.loglog(ends, ends, color="0.5", linewidth=1)
            axes.loglog(part.measured, part.predicted, ".", markersize=3)
            axes.set_title(f"{part.name}\nmean error {part.errors.mean():.1%}", fontsize=9)
            axes.set_xlabel("measured, s")
            marks = (1.0, 1.5, 2.0, 3.0, 5.0) if ends[1] < 30 * ends[0] else (1.0,)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(LogLocator(subs=marks))
                axis.set_major_formatter(StrMethodFormatter("{x:g}"))
                axis.set_minor_locator(NullLocator())
        figure.axes[0].set_ylabel("predicted, s (band: ±10 %)")
        figure.suptitle(self.title, fontsize=10)
        figure.savefig(path, dpi=120)


def _line(name: str, errors: Floats, beside: Sequence[Floats]) -> str:
    cells = [np.median(errors), errors.mean(), np.quantile(errors, 0.9), *(e.mean() for e in beside)]
    return f"| {name} | {len(errors)} | " + " | ".join(f"{cell:.1%}" for cell in cells) + " |"


def validate_traces(folder: str | Path) -> Report:
    """Fit each model's `placements.csv` and predict the rows of its `scalability.csv` on five nodes or more.

    Parameters
    ----------
    folder : str or Path
        Holds a folder for each model. Nothing of `scalability.csv` is looked at before the fit has been made.

    Raises
    ------
    ConfigError
        If there are no models, a file is missing or wrong (with its line), or nothing can be scored.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ConfigError(f"{root}: there is no such folder; give one with MODEL/placements.csv in it")
    models = sorted(path.parent for path in root.glob("*/placements.csv"))
    if not models:
        raise ConfigError(
            f"{root}: no folder in it has a placements.csv; it needs MODEL/{{placements,scalability}}.csv"
        )
    notes: list[str] = []
    parts = tuple(_score(folder, notes) for folder in models)
    return Report(parts, f"fitted on at most four nodes, predicted from {FEWEST_NODES} on", tuple(notes))


def _score(folder: Path, notes: list[str]) -> Comparison:
    fitted = read_placements(folder / "placements.csv")
    if fitted.nodes.max() < 2:
        raise ConfigError(
            f"{folder / 'placements.csv'}: no row is of several nodes, so nothing tells of the network between them; "
            "measure placements such as 11, 22 and 1111, too"
        )
    if (places := len(np.unique(fitted.place))) < len(PRIOR):
        notes.append(
            f"{folder / 'placements.csv'} has {places} placements for {len(PRIOR)} parameters: what they leave open is "
            "taken from what is usual, and the predictions are little more than that; measure more placements"
        )
    model = fit_steps(fitted)
    rows = read_scalability(folder / "scalability.csv")
    rows = rows.where(rows.nodes >= FEWEST_NODES)
    if not len(rows):
        raise ConfigError(f"{folder / 'scalability.csv'}: has no rows with num_nodes of at least {FEWEST_NODES}")
    forms: dict[str, Callable[[Steps, Steps], Floats]] = {"alpha-beta": plain_fit, "Pollux form": pollux_fit}
    beside = {name: form(fitted, rows) for name, form in forms.items()}
    return Comparison(folder.name, model.predict(rows), rows.step, beside)


def validate_calibration(path: str | Path) -> Report:
    """Fit a calibration's collectives on 2 and 4 ranks and sizes 4^k, predict sizes 2·4^k and 8 ranks or more.

    Raises
    ------
    ConfigError
        If the file is wrong, or has no observed collectives to fit or to score.
    """
    calibration = load(path)
    rows = calibration.observed
    known = calibration.restricted(lambda row: row.ranks in FIT_RANKS and _power_of_four(row.nbytes))
    if not known.observed:
        raise ConfigError(f"{path}: observed has no sizes 4^k on 2 or 4 ranks; calibrate with mpirun -n 8")
    parts: list[Comparison] = []
    for name, kept in (
        ("2 and 4 ranks, sizes between", [r for r in rows if r.ranks in FIT_RANKS and not _power_of_four(r.nbytes)]),
        ("8 ranks and more", [r for r in rows if r.ranks > max(FIT_RANKS)]),
    ):
        if kept:
            predicted = np.array([known.seconds(r.collective, r.ranks, r.nbytes) for r in kept])
            plain = np.array([known.closed_form(r.collective, r.ranks, r.nbytes) for r in kept])
            measured = np.array([r.median for r in kept])
            parts.append(Comparison(name, predicted, measured, {"alpha-beta": plain}))
    if not parts:
        raise ConfigError(f"{path}: observed has nothing to score; calibrate with mpirun -n 8")
    return Report(tuple(parts), f"pyccl's collectives on {calibration.cores} cores")


def validate_links(path: str | Path) -> Report:
    """Compare all_reduce over shaped links, as `benchmarks/shaped_links.py` measured it, with its simulation.

    Each testbed is calibrated on two of its sizes and scored on the others; then, apart, those of three hosts and more
    are predicted from the calibration of two hosts with the same rate.

    Raises
    ------
    ConfigError
        If the file is not of this kind.
    """
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))["rows"]
        times = {
            (float(row["rate_bit_s"]), int(row["hosts"]), int(row["bytes"])): float(row["median_s"]) for row in rows
        }
        if not all(1 < h < 4096 and 0 < n < 1 << 50 and 0 < t < 1e6 for (_, h, n), t in times.items()):
            raise ValueError("hosts, bytes or seconds out of range")
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ConfigError(f"{path}: no file of benchmarks/shaped_links.py: {error!r}") from None
    own, fewer = [], []
    for (rate, hosts, nbytes), measured in times.items():
        if nbytes not in LINK_SIZES:
            own.append((_over_links(times, rate, hosts, hosts, nbytes), measured))
        if hosts > 2:
            fewer.append((_over_links(times, rate, 2, hosts, nbytes), measured))
    parts = [
        Comparison(name, np.array([p for p, _ in pairs]), np.array([m for _, m in pairs]), {})
        for name, pairs in (("calibrated on two sizes", own), ("3 and 4 hosts, calibrated on 2", fewer))
        if pairs
    ]
    if not parts:
        raise ConfigError(f"{path}: has nothing to score besides the sizes {LINK_SIZES}")
    return Report(tuple(parts), "all_reduce over shaped links")


def _over_links(
    times: Mapping[tuple[float, int, int], float], rate: float, known: int, hosts: int, nbytes: int
) -> float:
    """Return the simulated seconds after calibration on `known` hosts."""
    try:
        network = fit_network("all_reduce", "ring", known, LINK_SIZES, [times[rate, known, n] for n in LINK_SIZES])
    except KeyError:
        raise ConfigError(
            f"no times of {LINK_SIZES} bytes on {known} hosts at {rate:g} bit/s to calibrate with"
        ) from None
    if network.beta == 0:
        raise ConfigError(f"times on {known} hosts at {rate:g} bit/s do not grow with the size")
    cluster = Cluster.switch(hosts=hosts, nic=1 / network.beta, latency=network.alpha / 2)
    return simulate_collective(cluster, "all_reduce", nbytes, algorithm="hierarchical").time


def _power_of_four(nbytes: int) -> bool:
    return nbytes & (nbytes - 1) == 0 and nbytes.bit_length() % 2 == 1
