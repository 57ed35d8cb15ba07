"""The rules of the source tree: short files, imports that only go down, one definition per fact."""

from __future__ import annotations

import ast
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyccl
from pyccl import _core

ROOT = Path(__file__).resolve().parents[1]
CPP = (".cc", ".h", ".cu")
ROOMS = ("core", "policy", "kernels", "engine", "sim", "shm", "mpi", "comm", "server", "bindings")
NEIGHBOURS = {
    "kernels": {"policy"},
    "shm": {"mpi", "sim"},
    "mpi": {"shm", "sim"},
    "comm": {"sim"},
    "server": {"sim", "mpi", "comm"},
}
# A module imports only what stands before it.
LAYERS = (
    "_extension", "_version", "errors", "_core",
    "config", "arrays", "ops", "collectives",
    "schedule", "algorithms", "cost", "policy", "optim", "initializers", "tuning", "sim", "choice",
    "checks", "calls", "same", "programs",
    "farewell", "launcher", "roll_call", "apart", "mpi_library", "mpi_bootstrap", "bootstrap", "membership", "links",
    "shared_bootstrap", "survivors", "splitting",
    "flight", "tracing", "observing", "opening",
    "methods", "ending", "operations", "point_to_point", "in_flight", "group", "explain", "runs", "registration",
    "communicator", "server", "world", "__init__", "bench", "launch", "trace", "doctor",
)  # fmt: skip


def sources(folder: str, *suffixes: str) -> list[Path]:
    return [path for path in (ROOT / folder).rglob("*") if path.suffix in suffixes]


@pytest.mark.parametrize("folder", ["pyccl", "csrc", "tests", "benchmarks", "docs"])
def test_files_stay_short(folder: str) -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in sources(folder, ".py", ".pyi", *CPP)}
    assert not {str(path): n for path, n in lengths.items() if n > 300}


def test_every_room_is_known() -> None:
    assert {path.name for path in (ROOT / "csrc").iterdir() if path.is_dir()} - {"tests"} == set(ROOMS)


def test_cpp_includes_only_what_lies_below() -> None:
    wrong = []
    for path in sources("csrc", *CPP):
        room = path.relative_to(ROOT / "csrc").parts[0]
        if room in ROOMS:
            allowed = set(ROOMS[: ROOMS.index(room) + 1]) - NEIGHBOURS.get(room, set())
            found = re.findall(r'^#include "(\w+)/', path.read_text(), re.MULTILINE)
            wrong += [f"{path.name} includes {name}/" for name in found if name not in allowed]
    assert not wrong


def imported(node: ast.AST) -> Iterator[str]:
    """Yield pyccl's modules that run when `node` does; imports for type checkers alone do not count."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    if isinstance(node, ast.ImportFrom) and node.module:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        names = []
    yield from (name.split(".")[1] for name in names if name.startswith("pyccl."))
    for child in ast.iter_child_nodes(node):
        yield from imported(child)


def test_python_imports_only_what_lies_below() -> None:
    wrong = []
    for path in sources("pyccl", ".py"):
        module = path.relative_to(ROOT / "pyccl").parts[0].removesuffix(".py")
        assert module in LAYERS, f"{module} has no place in LAYERS"
        allowed = LAYERS[: LAYERS.index(module) + 1]
        wrong += [
            f"{path.name} imports {name}" for name in imported(ast.parse(path.read_text())) if name not in allowed
        ]
    assert not wrong


def test_mpi_is_named_only_in_its_room() -> None:
    assert not [path for path in sources("csrc", *CPP) if "MPI_" in path.read_text() and path.parent.name != "mpi"]


def test_there_is_one_splitter() -> None:
    """A share of a count, `count / parts` with the rest spread, is computed by chunk_range alone."""
    share = re.compile(r"divmod\((?:count|nbytes|total)|\b(?:count|elements|total) / (?:size|nchunks|parts|ranks)\b")
    found = [path for path in (*sources("pyccl", ".py"), *sources("csrc", *CPP)) if share.search(path.read_text())]
    assert {str(path.relative_to(ROOT)) for path in found} == {"pyccl/collectives.py", "csrc/core/buffer.h"}


def test_the_public_list_is_the_api_page() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "generate_api.py"))["page"]()
    described = re.findall(r"^\.\. auto\w+:: pyccl\.(\w+)$", page, re.MULTILINE)
    assert sorted(described) == sorted(name for name in pyccl.__all__ if not name.startswith("_"))


def test_the_stubs_name_what_the_extension_has() -> None:
    stubs = [
        ast.parse((ROOT / "pyccl" / name).read_text())
        for name in ("_core.pyi", "_core_simulation.pyi", "_core_server.pyi", "_core_sparse.pyi")
    ]
    named = {node.name for tree in stubs for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    assert {name for name in named if not name.startswith("_")} == {n for n in vars(_core) if not n.startswith("_")}
