"""Finds `pyccl._core` when this package is imported from a source tree, and proves that it fits.

`python -m` and pytest put a clone's root first on `sys.path`, so `import pyccl` finds the sources there, while
`pip install .` has put the extension into site-packages. The build writes a hash of all C++ sources into the
extension; here only a file with the hash of the sources beside us is ever loaded, be it built in place or
installed. An installed package has no C++ sources beside it and needs none of this.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import itertools
import mmap
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

NAME = "pyccl._core"
MARK = b"pyccl-source-hash:"
SOURCE_SUFFIXES = {".cc", ".h", ".cu"}


def source_files(csrc: Path) -> list[Path]:
    """Return the C++ sources that the extension is made of, in a fixed order."""
    found = (path for path in csrc.rglob("*") if path.suffix in SOURCE_SUFFIXES)
    return sorted(path for path in found if path.relative_to(csrc).parts[0] != "tests")


def source_hash(csrc: Path) -> str:
    """Return the SHA-256 of names and contents of all C++ sources, in hexadecimal."""
    digest = hashlib.sha256()
    for path in source_files(csrc):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(csrc).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def recorded_hash(extension: Path) -> str | None:
    """Return the source hash that the build wrote into `extension`, read without loading it; None if absent."""
    with extension.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(MARK)
        if start < 0:
            return None
        start += len(MARK)
        return content[start : start + 64].decode("ascii", "replace")


def candidates(package: Path, search: Sequence[str]) -> Iterator[Path]:
    """Yield the built extensions: beside the sources first, then those installed on the search path."""
    folders = [package, *(Path(entry or ".").resolve() / package.name for entry in search)]
    for folder in dict.fromkeys(folders):
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            path = folder / f"_core{suffix}"
            if path.is_file() and path.stat().st_size:
                yield path


def find(package: Path, search: Sequence[str]) -> Path:
    """Return the extension built from the C++ sources beside `package`; ImportError if there is none."""
    expected = source_hash(package.parent / "csrc")
    stale = []
    for path in candidates(package, search):
        if recorded_hash(path) == expected:
            return path
        stale.append(str(path))
    root = package.parent
    what = f"was built from other C++ sources ({', '.join(stale)})" if stale else "is not built for this Python"
    raise ImportError(
        f"pyccl is imported from the source tree {root}, but its extension {what}. "
        f"Run `pip install {root}`, or to develop: `python setup.py build_ext --inplace` in {root}.",
        name=NAME,
    )


def examined(arguments: Sequence[str] = sys.orig_argv) -> bool:
    """Return whether this program is ``python -m pyccl.doctor``."""
    return any(pair == ("-m", "pyccl.doctor") for pair in itertools.pairwise(arguments))


def load() -> ModuleType:
    """Import `pyccl._core`; from a source tree only an extension that fits it."""
    package = Path(__file__).resolve().parent
    if NAME in sys.modules or not (package.parent / "csrc" / "bindings" / "module.cc").is_file():
        return importlib.import_module(NAME)
    path = find(package, sys.path)
    spec = importlib.util.spec_from_file_location(NAME, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not an extension module", name=NAME, path=str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    sys.modules[package.name]._core = module  # type: ignore[attr-defined]
    return module
