"""The optimisers' rules as nvcc compiles them: the bits that the CPU's kernels give."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyccl import optim

CSRC = Path(__file__).resolve().parent.parent / "csrc"
FLAGS = ["-std=c++20", "-O2", "-shared", "-fmad=false", "-Xcompiler", "-fPIC,-ffp-contract=off,-fno-math-errno"]
RULES: dict[
    str, tuple[optim.Optimizer, tuple[float, ...]]
] = {  # with an Optimizer's rate, first, second, epsilon, decay
    "SGD": (optim.SGD(0.1, weight_decay=0.01), (0.1, 0, 0, 0, 0.01)),
    "Momentum": (optim.Momentum(0.1, momentum=0.9), (0.1, 0.9, 0, 0, 0)),
    "Nesterov": (optim.Nesterov(0.1, momentum=0.9), (0.1, 0.9, 0, 0, 0)),
    "Adagrad": (optim.Adagrad(0.1, eps=1e-8), (0.1, 0, 0, 1e-8, 0)),
    "RMSProp": (optim.RMSProp(0.1, alpha=0.99, eps=1e-8), (0.1, 0, 0.99, 1e-8, 0)),
    "Adam": (optim.Adam(0.1, betas=(0.9, 0.999), eps=1e-8), (0.1, 0.9, 0.999, 1e-8, 0)),
    "AdamW": (optim.AdamW(0.1, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01), (0.1, 0.9, 0.999, 1e-8, 0.01)),
    "FTRL": (optim.FTRL(0.1, beta=1.0, l1=0.5, l2=0.25), (0.1, 0, 0, 1.0, 0, 0.5, 0.25)),
    "Lion": (optim.Lion(0.1, betas=(0.9, 0.99), weight_decay=0.01), (0.1, 0.9, 0.99, 0, 0.01)),
}
NUMBERS = ("SGD", "Momentum", "Nesterov", "Adagrad", "RMSProp", "Adam", "AdamW", "LAMB", "FTRL", "Lion")
COUNT = 1000


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not installed")
    made = tmp_path_factory.mktemp("cuda") / "update_rules.so"
    command = [nvcc, *FLAGS, "-I", str(CSRC), str(CSRC / "tests" / "update_rules.cu"), "-o", str(made)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return ctypes.CDLL(str(made))


def compare(library: Any, name: str, device: int) -> None:
    how, settings = RULES[name]
    draw = np.random.default_rng(1)
    ours = [draw.standard_normal(COUNT).astype(np.float32) for _ in range(1 + how.slots)]
    for state in ours[1:]:
        np.abs(state, out=state)
    theirs = [x.copy() for x in ours] + [np.zeros(1, np.float32)] * (2 - how.slots)
    values = (ctypes.c_double * 7)(*settings)
    for step in range(1, 6):
        gradient = draw.standard_normal(COUNT).astype(np.float32)
        how.core.update(ours[0], ours[1:], gradient, step, 0.75)
        pointers = [ctypes.c_void_p(x.ctypes.data) for x in (*theirs[:3], gradient)]
        last = (ctypes.c_int64(COUNT), ctypes.c_float(0.75), ctypes.c_int64(step), device)
        assert library.update(NUMBERS.index(name), values, *pointers, *last) == 0
        for a, b in zip(ours, theirs, strict=False):
            np.testing.assert_array_equal(a.view(np.uint32), b.view(np.uint32))


@pytest.mark.parametrize("name", RULES)
def test_the_host_has_the_same_bits(library: Any, name: str) -> None:
    compare(library, name, device=0)


@pytest.mark.parametrize("name", RULES)
def test_the_gpu_has_the_same_bits(library: Any, name: str) -> None:
    if library.gpus() == 0:
        pytest.skip("there is no GPU")
    compare(library, name, device=1)
