"""Runs the examples in all docstrings of pyccl; `comm` is a communicator of one rank, `np` is NumPy."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import sys
from typing import Any

import numpy as np

import pyccl

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL


def wanted(test: doctest.DocTest) -> bool:
    return any(re.search(r"\bcomm\b", example.source) for example in test.examples)


def main() -> int:
    finder, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner(optionflags=FLAGS)
    comm: Any = None
    for info in pkgutil.walk_packages(pyccl.__path__, "pyccl."):
        if info.name.rsplit(".", 1)[-1] in ("__main__", "_core"):
            continue
        try:
            module = importlib.import_module(info.name)
        except ImportError as error:
            if error.name is None or error.name.startswith("pyccl"):
                raise
            print(f"{info.name} left out: it needs {error.name}")
            continue
        for test in finder.find(module, extraglobs={"np": np}):
            if wanted(test) and comm is None:
                comm = pyccl.init()
            test.globs["comm"] = comm
            runner.run(test)
    print(f"{runner.tries} examples, {runner.failures} failed")
    return int(runner.failures > 0)


if __name__ == "__main__":
    sys.exit(main())
