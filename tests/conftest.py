"""What holds for every test: no core files, and the package under test is the one in this clone."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest

import pyccl

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if (
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):  # a shell's background job, whose children would ignore it, too
        signal.signal(signal.SIGINT, signal.default_int_handler)
    found = Path(pyccl.__file__).resolve().parents[1]
    if found != ROOT:
        raise pytest.UsageError(f"the tests are those of {ROOT}, but pyccl was imported from {found}")


def pytest_report_header() -> str:
    return f"pyccl {pyccl.__version__}, extension {pyccl._core.__file__}"  # type: ignore[attr-defined]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs PyTorch where it is absent, and say so."""
    wanted = [item for item in items if item.get_closest_marker("torch")]
    if not wanted:
        return
    try:
        import torch  # noqa: F401
    except ImportError as error:
        for item in wanted:
            item.add_marker(pytest.mark.skip(reason=f"PyTorch is not installed ({error})"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz-seconds", type=float, default=5.0, help="how long every parser meets damaged input (5)")
