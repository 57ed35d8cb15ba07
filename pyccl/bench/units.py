"""Sizes and times between what a person writes and what the code computes with (bytes, seconds, bytes/s)."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)(b?)", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str) -> int:
    """Return the bytes that `text` names; `64M`, `64MiB` and `64MB` are all 64 * 2**20, as in nccl-tests.

    Raises
    ------
    ValueError
        If `text` is not a non-negative number of whole bytes.

    Examples
    --------
    >>> parse_size("8"), parse_size("1K"), parse_size("1.5 MiB")
    (8, 1024, 1572864)
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a size: {text!r} (write 8, 32K or 64MiB)")
    number, prefix, _, _ = match.groups()
    nbytes = float(number) * 1024.0 ** _POWERS[prefix.lower()]
    if nbytes >= 2.0**62:
        raise ValueError(f"more than any memory holds: {text[:40]!r}")
    if nbytes != int(nbytes):
        raise ValueError(f"not a whole number of bytes: {text!r}")
    return int(nbytes)


def format_size(nbytes: float) -> str:
    """Return `nbytes` with a binary unit.

    Examples
    --------
    >>> format_size(8), format_size(32 << 10), format_size(1.5 * 2**30)
    ('8 B', '32 KiB', '1.5 GiB')
    """
    value, unit = float(nbytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.4g} {unit}"


def format_us(seconds: float) -> str:
    """Return `seconds` as microseconds with at least three significant digits and at most two decimals.

    Examples
    --------
    >>> format_us(6.1e-7), format_us(1.234e-5), format_us(0.117)
    ('0.61', '12.3', '117000')
    """
    us = seconds * 1e6
    decimals = 2 if us < 10 else 1 if us < 100 else 0
    return f"{us:.{decimals}f}"


def format_time(seconds: float) -> str:
    """Return `seconds` with the unit that suits it.

    Examples
    --------
    >>> format_time(6.1e-7), format_time(0.0125), format_time(2.5)
    ('0.61 us', '12.5 ms', '2.50 s')
    """
    if seconds < 1e-3:
        return f"{format_us(seconds)} us"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


def format_rate(rate: float) -> str:
    """Return bytes/s as GB/s (1e9) with three significant digits, without the unit.

    Examples
    --------
    >>> format_rate(11.36e9), format_rate(2.5e6)
    ('11.4', '0.0025')
    """
    return f"{rate / 1e9:.3g}" if rate < 1e12 else f"{rate / 1e9:.0f}"
