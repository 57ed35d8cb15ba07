"""Builds pyccl._core from csrc/. Everything declarative is in pyproject.toml.

Environment: CXX, CXXFLAGS, LDFLAGS as usual; PYCCL_WERROR=1 makes warnings errors; PYCCL_SANITIZE=address,undefined
or PYCCL_SANITIZE=thread builds an instrumented extension; PYCCL_JOBS limits the compilers that run at once.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
CSRC = ROOT / "csrc"
MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
# The kernels name instruction sets in the way of GCC 12.
PROBE = "#include <bit>\n#include <span>\n#if defined(__clang__) || __GNUC__ < 12\n#error too old, or not GCC\n#endif\n"


def load_extension_module():  # type: ignore[no-untyped-def]
    """Import pyccl/_extension.py by its path: the package itself cannot be imported before it is built."""
    spec = importlib.util.spec_from_file_location("_extension", ROOT / "pyccl" / "_extension.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_platform() -> str:
    """Return the machine's architecture; exit with one clear line where pyccl cannot run."""
    machine = MACHINES.get(platform.machine().lower())
    if sys.platform != "linux" or machine is None:
        here = f"{platform.system()} on {platform.machine()}"
        raise SystemExit(f"error: pyccl runs on Linux x86-64 and AArch64 only, this is {here}")
    return machine


def find_compiler() -> list[str]:
    """Return the command of the C++ compiler: $CXX, else the first of g++ and c++ that is installed."""
    named = shlex.split(os.environ.get("CXX", ""))
    compiler = named or [name for name in ("g++", "c++") if shutil.which(name)][:1]
    if not compiler or shutil.which(compiler[0]) is None:
        what = f"CXX={named[0]} is not installed" if named else "no C++ compiler was found"
        raise SystemExit(f"error: pyccl needs GCC 12 or later, but {what} (e.g. `apt-get install g++`)")
    probe = subprocess.run(
        [*compiler, "-std=c++20", "-fsyntax-only", "-x", "c++", "-"], input=PROBE, text=True, capture_output=True
    )
    if probe.returncode:
        raise SystemExit(f"error: pyccl needs GCC 12 or later, `{compiler[0]}` fails:\n{probe.stderr}")
    return compiler


def belongs(source: Path, machine: str) -> bool:
    """Say whether `source` is part of the build for this architecture: setup.py chooses files, not branches."""
    name = source.name
    if source.suffix != ".cc":
        return False
    if "x86_64" in name or name.endswith("_x86.cc"):
        return machine == "x86_64"
    if name.endswith("_generic.cc"):
        return machine != "x86_64"
    return True


def flags(machine: str) -> tuple[list[str], list[str]]:
    """Return the compiler's and the linker's flags."""
    # Contraction to FMA would make results depend on the instruction set chosen at run time.
    # Nobody reads errno after a square root; for its sake the roots of a vector would be taken one by one.
    arithmetic = ["-ffp-contract=off", "-fno-math-errno"]
    common = ["-std=c++20", "-fPIC", "-fvisibility=hidden", "-pthread", *arithmetic, "-Wall", "-Wextra", "-g0"]
    link = ["-shared", "-pthread", "-Wl,-z,relro,-z,now", "-Wl,-z,noexecstack", "-Wl,--as-needed"]
    sanitizers = os.environ.get("PYCCL_SANITIZE", "")
    if sanitizers:
        instrument = [f"-fsanitize={sanitizers}", "-fno-omit-frame-pointer", "-g", "-O1"]
        compile_ = [*common, *instrument, "-fno-sanitize-recover=all"]
        link += instrument
    else:
        harden = ["-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
        compile_ = [*common, "-O3", "-DNDEBUG", *harden]
    if os.environ.get("PYCCL_WERROR", "0") not in ("", "0"):
        compile_.append("-Werror")
    includes = dict.fromkeys([sysconfig.get_path("include"), sysconfig.get_path("platinclude"), pybind11.get_include()])
    compile_ += [f"-I{CSRC}", *(f"-isystem{path}" for path in includes)]
    compile_ += shlex.split(os.environ.get("CXXFLAGS", ""))
    return compile_, [*link, *shlex.split(os.environ.get("LDFLAGS", "")), "-ldl"]


@cache
def digest(path: str) -> str:
    """Return the hash of a file as it is when first asked for; a file that is gone has none."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except FileNotFoundError:
        return "gone"


def state(command: list[str], dependencies: list[str]) -> str:
    """Return what an object file follows from: the command and the contents of every file it read."""
    # pip builds in a new environment each time: what matters is which pybind11 it holds, not where.
    line = shlex.join(command).replace(pybind11.get_include(), f"pybind11-{pybind11.__version__}")
    return "\n".join([line, *(f"{digest(path)} {path}" for path in dependencies)])


def read_dependencies(depfile: Path) -> list[str]:
    """Parse the make rule that the compiler wrote with -MMD."""
    rule = depfile.read_text().replace("\\\n", " ").split(": ", 1)[1]
    return [path.replace("\0", " ") for path in rule.replace("\\ ", "\0").split()]


def compile_one(command: list[str], source: Path, target: Path) -> bool:
    """Compile `source` to `target` unless nothing it follows from has changed; say whether it was compiled."""
    record, depfile = target.with_suffix(".state"), target.with_suffix(".d")
    full = [*command, "-MMD", "-MF", str(depfile), "-c", str(source), "-o", str(target)]
    known = target.exists() and record.exists() and depfile.exists()
    if known and record.read_text() == state(full, read_dependencies(depfile)):  # without system headers
        return False
    record.unlink(missing_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(full, capture_output=True, text=True)
    sys.stderr.write(done.stderr)
    if done.returncode:
        raise SystemExit(f"error: could not compile {source.relative_to(ROOT)}")
    record.write_text(state(full, read_dependencies(depfile)))
    return True


class BuildExtension(build_ext):
    """Compiles in parallel, and only what changed: sources, headers, flags or the compiler's name."""

    def build_extension(self, ext: Extension) -> None:
        machine, compiler = check_platform(), find_compiler()
        extension = load_extension_module()
        hash_ = extension.source_hash(CSRC)
        for path in extension.source_files(CSRC):
            digest(str(path))  # a source edited while the build runs must count as changed next time
        compile_flags, link_flags = flags(machine)
        kind = os.environ.get("PYCCL_SANITIZE", "").replace(",", "-") or "plain"
        objects = Path(self.build_temp).resolve() / kind

        def compile_source(source: Path) -> tuple[Path, bool]:
            define = [f'-DPYCCL_SOURCE_HASH="{hash_}"'] if source.name == "source_hash.cc" else []
            target = objects / source.relative_to(CSRC).with_suffix(".o")
            return target, compile_one([*compiler, *compile_flags, *define], source, target)

        sources = [path for path in extension.source_files(CSRC) if belongs(path, machine)]
        jobs = int(os.environ.get("PYCCL_JOBS", 0)) or len(os.sched_getaffinity(0))
        with ThreadPoolExecutor(jobs) as pool:
            results = list(pool.map(compile_source, sources))
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        built = target.with_suffix(".new")
        subprocess.run([*compiler, *(str(path) for path, _ in results), *link_flags, "-o", str(built)], check=True)
        built.replace(target)  # a running process keeps the file that it has mapped
        print(f"{ext.name}: compiled {sum(changed for _, changed in results)} of {len(results)} files")


class BuildPython(build_py):
    """Starts from an empty folder: a module deleted from the sources must not live on in the wheel."""

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib) / "pyccl", ignore_errors=True)
        super().run()


check_platform()
setup(
    ext_modules=[Extension("pyccl._core", sources=[])],
    cmdclass={"build_ext": BuildExtension, "build_py": BuildPython},
)
