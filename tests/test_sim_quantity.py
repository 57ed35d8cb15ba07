"""Quantities with units: exact values, and errors that say what to write."""

from __future__ import annotations

import contextlib
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyccl.errors import ConfigError
from pyccl.sim import quantity


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("200 Gbit/s", "rate", 25e9), ("12.5 GB/s", "rate", 12.5e9), ("1 MiB/s", "rate", 2.0**20),
        ("3 us", "time", 3e-6), ("3 µs", "time", 3e-6), ("1.5ms", "time", 1.5e-3), ("24 h", "time", 86400.0),
        ("64 MiB", "size", 2.0**26), ("1e3 kB", "size", 1e6), ("8 bit", "size", 1.0),
        ("5000 USD", "money", 5000.0), ("3.6 USD/h", "price", 1e-3),
        ("0.7 kW", "power", 700.0), ("90 USD/TB", "egress", 9e-11),
    ],
)  # fmt: skip
def test_units(text: str, kind: str, value: float) -> None:
    assert quantity.parse(text, kind, "x") == value


@pytest.mark.parametrize(
    ("value", "kind", "says"),
    [
        ("3", "time", "has no unit; write for example '3 us'"), ("fast", "rate", "is no rate"),
        ("3 mb/s", "rate", "did you mean MB/s"), ("3 GB", "rate", "known are B/s"), ("-1 us", "time", "at least 0"),
        (math.inf, "time", "finite"), (math.nan, "time", "finite"), (True, "time", "is no time"),
        (None, "size", "is no size"), ("1e999 s", "time", "finite"), ("9" * 5000 + " s", "time", "finite"),
    ],
)  # fmt: skip
def test_what_is_no_quantity(value: object, kind: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"latency.*{re.escape(says)}"):
        quantity.parse(value, kind, "latency")  # type: ignore[arg-type]


def test_whole_and_positive() -> None:
    assert quantity.nbytes("1.5 KiB") == 1536
    with pytest.raises(ConfigError, match="whole number"):
        quantity.nbytes("1 bit")
    with pytest.raises(ConfigError, match="above 0"):
        quantity.positive("0 GB/s", "rate", "nic")


@given(st.floats(0, 1e300), st.sampled_from(["size", "time", "rate", "money", "price", "power", "egress"]))
def test_text_is_read_back(value: float, kind: str) -> None:
    assert quantity.parse(quantity.text(value, kind), kind, "x") == value


@given(st.text(max_size=40), st.sampled_from(["size", "time", "rate", "money", "price", "power", "egress"]))
def test_any_text_is_a_quantity_or_a_config_error(text: str, kind: str) -> None:
    with contextlib.suppress(ConfigError):
        assert quantity.parse(text, kind, "x") >= 0
