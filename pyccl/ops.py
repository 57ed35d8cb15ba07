"""Reduction operations: which there are, on which dtypes they are defined, and a user's own."""

from __future__ import annotations

import hashlib
import importlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "AVG",
    "BAND",
    "BOR",
    "BXOR",
    "MAX",
    "MIN",
    "PROD",
    "SUM",
    "Op",
    "check_op",
    "premul_sum",
    "resolve_op",
    "user_op",
]

INTEGERS = frozenset({"uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"})
REALS = frozenset({"float16", "bfloat16", "float32", "float64"})
COMPLEX = frozenset({"complex64", "complex128"})
ALL = frozenset({"bool"}) | INTEGERS | REALS | COMPLEX

PREMUL_SUM_CODE = 8
USER_CODE = 9


class UserFunction:
    """A Python function of two elements, compiled once per dtype to the callback that the kernels take."""

    def __init__(self, function: Callable[[Any, Any], Any], name: str) -> None:
        self.function = function
        self.name = name
        self._compiled: dict[str, Any] = {}
        self._lock = threading.Lock()

    def address(self, dtype: str) -> int:
        """Return the callback's address; it is valid as long as this object lives."""
        lane = "float32" if dtype in ("float16", "bfloat16") else dtype
        with self._lock:
            if lane not in self._compiled:
                self._compiled[lane] = compile_callback(self.function, self.name, lane)
            return int(self._compiled[lane].address)


@dataclass(frozen=True)
class Op:
    """An elementwise reduction operation.

    Attributes
    ----------
    name : str
        As `resolve_op` knows it, or the name of the user's function.
    code : int
        The value of OpKind in csrc/core/types.h.
    commutative : bool
        False: algorithms must keep the contributions in rank order.
    dtypes : frozenset of str
        Names of the dtypes on which it is defined.
    factor : float or None
        What `premul_sum` multiplies this rank's contribution by.
    fingerprint : int
        32 bits that tell user functions apart, the same in every process; 0 for what pyccl defines itself.
    """

    name: str
    code: int
    commutative: bool = True
    dtypes: frozenset[str] = field(default=ALL, repr=False)
    factor: float | None = None
    fingerprint: int = 0
    user: UserFunction | None = field(default=None, repr=False, compare=False)

    def address(self, dtype: str) -> int:
        """Return the address of the compiled user function for a dtype, 0 if there is none.

        Raises
        ------
        TypeError
            If the function cannot be compiled for this dtype.
        ImportError
            If numba is needed and not installed.
        """
        return 0 if self.user is None else self.user.address(dtype)


SUM = Op("sum", 0, dtypes=ALL - {"bool"})
AVG = Op("avg", 1, dtypes=REALS | COMPLEX)
PROD = Op("prod", 2)
MIN = Op("min", 3, dtypes=ALL - COMPLEX)
MAX = Op("max", 4, dtypes=ALL - COMPLEX)
BAND = Op("band", 5, dtypes=INTEGERS | {"bool"})
BOR = Op("bor", 6, dtypes=INTEGERS | {"bool"})
BXOR = Op("bxor", 7, dtypes=INTEGERS | {"bool"})

BUILTIN = {op.name: op for op in (SUM, AVG, PROD, MIN, MAX, BAND, BOR, BXOR)}


def resolve_op(op: str | Op) -> Op:
    """Return the operation that `op` names.

    Raises
    ------
    ValueError
        If there is no such operation.
    TypeError
        If `op` is neither a name nor an `Op`.

    Examples
    --------
    >>> resolve_op("max") is MAX
    True
    """
    if isinstance(op, Op):
        return op
    if not isinstance(op, str):
        raise TypeError(f"op must be a name or a pyccl.Op (see pyccl.user_op), got {type(op).__name__}")
    if op not in BUILTIN:
        hint = "; it takes a factor: pyccl.premul_sum(0.5)" if op == "premul_sum" else ""
        raise ValueError(f"op must be one of {', '.join(BUILTIN)}, got {op!r}{hint}")
    return BUILTIN[op]


def premul_sum(factor: float) -> Op:
    """Return the sum of every rank's contribution times that rank's `factor`; the factors may differ.

    Examples
    --------
    >>> premul_sum(0.25).factor
    0.25
    """
    return Op("premul_sum", PREMUL_SUM_CODE, dtypes=REALS | COMPLEX, factor=float(factor))


def check_op(op: Op, dtype: str) -> None:
    """Raise TypeError if `op` is not defined on the dtype of this name.

    Examples
    --------
    >>> check_op(SUM, "bool")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    TypeError: op 'sum' is not defined on bool; it takes ...
    """
    if dtype not in op.dtypes:
        takes = ", ".join(sorted(op.dtypes))
        raise TypeError(f"op {op.name!r} is not defined on {dtype}; it takes {takes}")


def user_op(function: Callable[[Any, Any], Any], *, commutative: bool = True, name: str | None = None) -> Op:
    """Return an operation made of a Python function of two elements.

    numba compiles the function when it is first used on a dtype. It must be associative up to rounding. float16
    and bfloat16 elements reach it as float32. An exception that it raises fails the collective.

    Parameters
    ----------
    function : callable
        `function(a, b)` returns the combination of two elements; `a` comes from the lower ranks.
    commutative : bool, default True
        Whether `function(a, b) == function(b, a)`.
    name : str, optional
        How messages call it; the function's own name by default.

    Raises
    ------
    TypeError
        If `function` is not written in Python, or does not take two arguments.

    Examples
    --------
    >>> op = user_op(lambda a, b: a + b + a * b, name="compound")
    >>> op.name, op.commutative
    ('compound', True)
    """
    python = getattr(function, "py_func", function)  # what numba.njit has wrapped
    if not isinstance(python, FunctionType):
        raise TypeError(f"user_op needs a function written in Python, got {function!r}")
    if python.__code__.co_argcount != 2:
        raise TypeError(
            f"user_op needs a function of two arguments, {python.__name__} takes {python.__code__.co_argcount}"
        )
    name = name or python.__name__
    return Op(
        name, USER_CODE, commutative=commutative, fingerprint=fingerprint(python), user=UserFunction(python, name)
    )


def fingerprint(function: FunctionType) -> int:
    """Return a non-zero 32-bit hash of what a function does: its bytecode and the constants that it captures."""
    digest = hashlib.blake2b(digest_size=4)
    for part in describe(function, set()):
        digest.update(part.encode() + b"\0")
    return int.from_bytes(digest.digest(), "little") or 1


def describe(value: object, seen: set[int]) -> Iterator[str]:
    """Yield the text of `value`, without addresses and in an order that does not vary between processes."""
    if isinstance(value, (bool, int, float, complex, str, bytes, type(None))):
        yield f"{type(value).__name__} {value!r}"
    elif isinstance(value, (tuple, frozenset)):
        items = ["".join(describe(item, seen)) for item in value]
        yield f"{type(value).__name__} {items if isinstance(value, tuple) else sorted(items)}"
    elif isinstance(value, CodeType):
        yield value.co_code.hex()
        yield " ".join(value.co_names)
        for constant in value.co_consts:
            yield from describe(constant, seen)
    elif isinstance(getattr(value, "py_func", value), FunctionType) and id(value) not in seen:
        seen.add(id(value))
        function: Any = getattr(value, "py_func", value)
        yield from describe(function.__code__, seen)
        captured = [cell.cell_contents for cell in function.__closure__ or ()]
        used = [function.__globals__.get(name) for name in function.__code__.co_names]
        for item in (*captured, *used, *(function.__defaults__ or ())):
            yield from describe(item, seen)
    else:
        yield type(value).__name__


def compile_callback(function: Callable[[Any, Any], Any], name: str, dtype: str) -> Any:
    """Compile `accumulator[i] = function(accumulator[i], operand[i])` with the signature of kernels::UserFunction."""
    try:
        numba: Any = importlib.import_module("numba")
    except ImportError as error:
        raise ImportError(f"user_op {name!r} needs numba: pip install 'pyccl-collectives[numba]'") from error
    import numpy as np

    types = numba.types
    element = numba.from_dtype(np.dtype(dtype))
    pointer = types.CPointer(element)
    signature = types.void(pointer, pointer, types.int64, types.CPointer(types.int32))
    try:
        combine = numba.njit(function)
        check_result(combine, element, name, np.dtype(dtype))

        def callback(accumulator: Any, operand: Any, count: int, error: Any) -> None:
            # An exception ends a cfunc early, after reporting it as unraisable: the flag that is set first stays set.
            error[0] = 1
            left, right = numba.carray(accumulator, count), numba.carray(operand, count)
            for i in range(count):
                left[i] = combine(left[i], right[i])
            error[0] = 0

        return numba.cfunc(signature)(callback)
    except numba.core.errors.NumbaError as error:
        raise TypeError(f"user_op {name!r} cannot be compiled for {dtype}: {error}") from error


def check_result(combine: Any, element: Any, name: str, dtype: np.dtype[Any]) -> None:
    """Raise TypeError if the function's result would lose its kind in `dtype` (a float stored as an integer)."""
    from numba.np.numpy_support import as_dtype

    combine.compile((element, element))
    result = combine.nopython_signatures[-1].return_type
    rank = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}
    try:
        fits = rank[as_dtype(result).kind] <= rank[dtype.kind]
    except (NotImplementedError, KeyError):  # not a number at all
        fits = False
    if not fits:
        raise TypeError(f"user_op {name!r} cannot be compiled for {dtype}: it returns {result}")
