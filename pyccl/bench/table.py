"""The printed table, in the manner of nccl-tests, and the summary below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .units import format_rate, format_size, format_time, format_us

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .report import Row

SMALL, LARGE = 1 << 10, 1 << 20
"""A latency is of cases up to SMALL bytes, a bandwidth of cases from LARGE bytes on."""

_WIDTHS = (15, 11, 11, 11, 10, 5, 10, 10, 8, 8, 7, 10, 9)
_HEADS = ("collective", "size", "count", "type", "op", "root", "time", "p99", "algbw", "busbw", "#wrong")
_UNITS = ("", "(B)", "(elements)", "", "", "", "(us)", "(us)", "(GB/s)", "(GB/s)", "")


def _line(cells: Sequence[str]) -> str:
    first, *rest = (cell.rjust(width) for cell, width in zip(cells, _WIDTHS, strict=True))
    return (first.strip().ljust(_WIDTHS[0]) + "".join(" " + cell for cell in rest)).rstrip()


def head(mpi_library: str) -> str:
    """Return the head of the table."""
    name = " ".join(word for word in mpi_library.split() if word.isalpha())
    return "\n".join((_line(["# " + _HEADS[0], *_HEADS[1:], name, "speed-up"]), _line(["#", *_UNITS[1:], "(us)", ""])))


def line(row: Row) -> str:
    """Return one row of the table."""
    name = row.collective if row.algorithm == "auto" else f"{row.collective}/{row.algorithm}"
    cells = [str(row.bytes), str(row.count), row.dtype, row.op, str(row.root)]
    times = [format_us(row.time_s), format_us(row.p99_s), format_rate(row.algbw), format_rate(row.busbw)]
    text = _line([name[: _WIDTHS[0]], *cells, *times, str(row.wrong), *against(row)])
    return text if len(name) <= _WIDTHS[0] else f"# {name}\n{text}"


def against(row: Row) -> list[str]:
    """Return the baseline's time in microseconds and the speed-up, or a dash for each."""
    if row.baseline_s is None or row.speedup is None:
        return ["–", "–"]
    return [format_us(row.baseline_s), format_speedup(row.speedup)]


def format_speedup(ratio: float) -> str:
    """Return a ratio with three significant digits.

    Examples
    --------
    >>> format_speedup(1.234), format_speedup(123.4)
    ('1.23x', '123x')
    """
    return f"{ratio:.3g}x" if ratio < 1000 else f"{ratio:.0f}x"


def title(environment: dict[str, Any]) -> str:
    """Return the lines above the table: where, with what, by how many ranks."""
    e = environment
    cpus = sorted({cpu for cpus in e["affinity"] for cpu in cpus})
    return (
        f"# pyccl {e['pyccl']}: {e['ranks']} ranks on {e['nodes']} node(s), launcher {e['launcher']}, "
        f"baseline {e['mpi_library']}\n"
        f"# {e['cpu']}, {e['cores']} cores (ranks may use {len(cpus)}), {format_size(e['memory_bytes'])}, "
        f"Linux {e['kernel']}, Python {e['python']}, NumPy {e['numpy']}\n"
        "# time = median of the maximum over the ranks, each iteration on new data after an untimed barrier"
    )


def summary(rows: Sequence[Row], mpi_library: str) -> str:
    """Return one line per collective (and algorithm, dtype, op where there are several) and the total of errors."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.collective, row.algorithm, row.dtype, row.op), []).append(row)
    widths = (44, 12, 16, 20, 7)
    heads = ("# summary", f"≤ {format_size(SMALL)}", f"busbw ≥ {format_size(LARGE)}", "speed-up", "#wrong")
    lines = ["", _columns(heads, widths)]
    for key, group in groups.items():
        lines.append(_columns((label(key), *_figures(group), str(sum(row.wrong for row in group))), widths))
    total = sum(row.wrong for row in rows)
    lines.append(f"# speed-up over {mpi_library} in the same run; wrong elements in total: {total}")
    suspicious = sum(row.baseline_wrong for row in rows)
    if suspicious:
        lines.append(f"# note: {mpi_library} itself returned {suspicious} wrong elements")
    return "\n".join(lines)


def label(key: tuple[str, ...]) -> str:
    """Return the name of a group of rows without what goes without saying."""
    kind, algorithm, dtype, op = key
    usual = ("auto", "float32", "sum", "none") if kind != "barrier" else (*key,)
    return " ".join([kind, *(word for word in (algorithm, dtype, op) if word not in usual)])


def _columns(cells: Sequence[str], widths: Sequence[int]) -> str:
    return cells[0].ljust(widths[0]) + " ".join(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))


def _figures(group: Sequence[Row]) -> tuple[str, str, str]:
    small = [row.time_s for row in group if row.bytes <= SMALL]
    large = [row.busbw for row in group if row.bytes >= LARGE]
    speedups = [row.speedup for row in group if row.speedup is not None]
    latency = format_time(min(small)) if small else "–"
    bandwidth = f"{format_rate(max(large))} GB/s" if large else "–"
    if not speedups:
        return latency, bandwidth, "–"
    spread = f"{format_speedup(min(speedups))} … {format_speedup(max(speedups))}"
    return latency, bandwidth, spread
