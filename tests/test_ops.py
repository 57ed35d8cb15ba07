"""Operations: names, the dtypes they take, and what identifies a user's function."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pyccl import _core, ops
from pyccl.ops import AVG, MAX, MIN, SUM, check_op, premul_sum, resolve_op, user_op

ALL_OPS = [*ops.BUILTIN.values(), premul_sum(0.5), user_op(lambda a, b: a, name="user")]
CODES = _core.kernels_codes()


def test_codes_are_those_of_the_kernels():
    assert {op.name: op.code for op in ALL_OPS} == CODES["ops"]
    assert set(CODES["dtypes"]) == ops.ALL


@pytest.mark.parametrize("op", ALL_OPS, ids=lambda op: op.name)
def test_dtypes_are_those_of_the_kernels(op):
    for name, code in CODES["dtypes"].items():
        assert _core.kernels_supports(op.code, code) == (name in op.dtypes), name


def test_resolve_op():
    assert resolve_op("sum") is SUM
    assert resolve_op(MAX) is MAX
    with pytest.raises(ValueError, match="op must be one of sum, avg, prod, min, max, band, bor, bxor, got 'mean'"):
        resolve_op("mean")
    with pytest.raises(TypeError, match="user_op"):
        resolve_op(max)


@pytest.mark.parametrize(("op", "name"), [(SUM, "bool"), (AVG, "int32"), (MIN, "complex64"), (ops.BAND, "float32")])
def test_check_op_refuses(op, name):
    with pytest.raises(TypeError, match=f"op '{op.name}' is not defined on {name}; it takes "):
        check_op(op, name)


def test_builtin_ops_need_no_callback():
    for op in ops.BUILTIN.values():
        check_op(op, "uint8" if "uint8" in op.dtypes else "float32")
        assert (op.fingerprint, op.address("float32"), op.factor) == (0, 0, None)
    assert premul_sum(2).factor == 2.0


def test_user_op_refuses_what_it_cannot_read():
    with pytest.raises(TypeError, match="written in Python"):
        user_op(max)
    with pytest.raises(TypeError, match="two arguments"):
        user_op(lambda a: a)


@pytest.mark.parametrize(
    "function",
    [lambda a, b: a / b, lambda a, b: a.nothing, lambda a, b: "x", lambda a, b: undefined(a, b)],  # noqa: F821
)
def test_user_op_names_the_function_that_does_not_compile(function):
    pytest.importorskip("numba")
    with pytest.raises(TypeError, match="user_op 'mine' cannot be compiled for int32"):
        user_op(function, name="mine").address("int32")


def test_user_op_compiles_once_per_dtype():
    pytest.importorskip("numba")
    op = user_op(lambda a, b: a if a > b else b)
    assert op.address("float32") == op.address("float32") == op.address("bfloat16") != op.address("int8")


def test_user_op_without_numba_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ImportError, match=r"pip install 'pyccl-collectives\[numba\]'"):
        user_op(lambda a, b: a).address("float32")


def captured(factor):
    return lambda a, b: a + factor * b


def test_fingerprint_tells_functions_apart():
    same = [user_op(captured(2)).fingerprint for _ in range(2)]
    others = [user_op(f).fingerprint for f in (captured(3), lambda a, b: a, lambda a, b: a - 2 * b)]
    assert same[0] == same[1]
    assert len({same[0], *others}) == 4
    assert all(0 < value < 2**32 for value in (*same, *others))


def test_fingerprint_is_stable_across_processes():
    code = """
from pyccl.ops import user_op
LIMIT = 5
def inner(x): return x in {"a", "b", "c"} or x > LIMIT
print(user_op(lambda a, b: inner(a) + (lambda y: y)(b)).fingerprint)
"""
    seen = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        seen.add(done.stdout)
    assert len(seen) == 1
