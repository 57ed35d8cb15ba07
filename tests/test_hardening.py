"""Nothing runs what another process has sent, and the extension is linked as the platform's hardening asks."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from pyccl import _core
from tests.test_rules import CPP, sources

MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
CALLS = {"eval", "exec", "compile", "__import__"}


def suspicious(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            yield str(node.module)
        elif isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            yield from (f"{name}()" for known in CALLS if name == known)
            for word in node.keywords:
                constant = word.value.value if isinstance(word.value, ast.Constant) else None
                if (word.arg, constant) in (("shell", True), ("allow_pickle", True)):
                    yield f"{word.arg}=True"


def test_nothing_is_unpickled_or_evaluated() -> None:
    found = {str(path): list(suspicious(ast.parse(path.read_text()))) for path in sources("pyccl", ".py")}
    assert not {path: words for path, words in found.items() if words}


def test_mpi4py_never_pickles() -> None:
    """Its lower-case methods do."""
    words = r"bcast|gather|allgather|scatter|alltoall|reduce|allreduce|send|recv|isend|irecv|sendrecv"
    methods = re.compile(rf"\b(?:mpi_comm|_comm|comm_world|COMM_WORLD)\.(?:{words})\(")
    files = [path for path in sources("pyccl", ".py") if "bench" not in path.parts]
    assert not {str(path): found for path in files if (found := methods.findall(path.read_text()))}


def test_the_core_starts_no_programs_and_copies_no_unbounded_strings() -> None:
    words = re.compile(r"\b(?:system|popen|execl?[vpe]*|strcpy|strcat|sprintf|gets|alloca|mktemp|tmpnam)\s*\(")
    assert not {str(path): found for path in sources("csrc", *CPP) if (found := words.findall(path.read_text()))}


@pytest.fixture(scope="module")
def elf() -> str:
    if shutil.which("readelf") is None:
        pytest.skip("readelf is not installed (binutils)")
    command = ["readelf", "-W", "--dynamic", "--program-headers", "--dyn-syms", str(_core.__file__)]
    text = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    if re.search(r"\b__(?:asan|tsan)_", text):
        pytest.skip("an instrumented extension")
    return text


def test_relocations_are_read_only_and_bound_at_the_start(elf: str) -> None:
    assert "GNU_RELRO" in elf
    assert re.search(r"\bBIND_NOW\b|FLAGS_1.*\bNOW\b", elf)


def test_the_stack_is_protected_and_cannot_be_run(elf: str) -> None:
    (flags,) = re.findall(r"GNU_STACK\s+(?:0x\w+\s+){5}([RWE ]+?)\s+0x", elf)
    assert "E" not in flags
    assert "__stack_chk_fail" in elf


def test_libraries_come_from_the_system_alone(elf: str) -> None:
    assert not re.findall(r"\((?:RPATH|RUNPATH|TEXTREL)\).*", elf)
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", elf)
    assert needed
    assert not [
        name for name in needed if not re.match(r"(?:lib(?:c|m|gcc_s|stdc\+\+|dl|pthread|rt)|ld-linux.*)\.so", name)
    ]


def test_no_segment_may_be_written_and_run(elf: str) -> None:
    loads = re.findall(r"LOAD\s+(?:0x\w+\s+){5}([RWE ]+?)\s+0x", elf)
    assert loads
    assert not [flags for flags in loads if "W" in flags and "E" in flags]
