"""The only place that looks inside a user's array: everything becomes a plain NumPy view, without copies."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from pyccl import _core

__all__ = ["NumpyArray", "dtype_of", "empty_like", "like", "name_of", "overlap", "resolve"]

NumpyArray = npt.NDArray[Any]

SUPPORTED = frozenset(
    {"bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"}
    | {"float16", "bfloat16", "float32", "float64", "complex64", "complex128"}
)


def dtype_of(spec: Any) -> np.dtype[Any]:
    """Return the NumPy dtype that `spec` names; "bfloat16" is the one of ml_dtypes.

    Raises
    ------
    TypeError
        If pyccl does not reduce or move that dtype.
    """
    if spec == "bfloat16" or getattr(spec, "__name__", getattr(spec, "name", "")) == "bfloat16":
        return _bfloat16()
    dtype: np.dtype[Any] = np.dtype(spec)
    if dtype.name not in SUPPORTED or not dtype.isnative:
        raise TypeError(f"dtype must be one of {', '.join(sorted(SUPPORTED))}, got {dtype}")
    return dtype


@cache
def name_of(dtype: np.dtype[Any]) -> str:
    """Return the dtype's name, which NumPy puts together anew, and slowly, each time."""
    return str(dtype.name)


def _bfloat16() -> np.dtype[Any]:
    import ml_dtypes

    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    _core.set_bfloat16(dtype.num)
    return dtype


def _is_torch(x: Any) -> bool:
    return type(x).__module__.partition(".")[0] == "torch" and hasattr(x, "data_ptr")


def _from_torch(x: Any, name: str) -> NumpyArray:
    import torch

    if x.device.type != "cpu":
        raise TypeError(f"{name} must be a CPU tensor, got one on {x.device}")
    x = x.detach()
    if x.is_conj() or x.is_neg():
        raise TypeError(f"{name} must not be a lazy conjugate or negative: call resolve_conj() or resolve_neg()")
    if not x.is_contiguous():
        raise ValueError(f"{name} must be contiguous, got strides {tuple(x.stride())} for shape {tuple(x.shape)}")
    if x.dtype == torch.bfloat16:
        return x.view(torch.int16).numpy().view(_bfloat16())  # type: ignore[no-any-return]
    try:
        return x.numpy()  # type: ignore[no-any-return]
    except TypeError:  # a dtype that NumPy does not have
        raise TypeError(f"{name} has dtype {x.dtype}, which pyccl does not handle") from None


def _to_numpy(x: Any, name: str) -> NumpyArray:
    if isinstance(x, np.ndarray):
        return x
    if _is_torch(x):
        return _from_torch(x, name)
    if isinstance(x, (np.generic, list, tuple, str, bytes)):
        raise TypeError(f"{name} must be an array, got {type(x).__name__}")
    if hasattr(x, "__dlpack__"):
        try:
            return np.from_dlpack(x)
        except (BufferError, RuntimeError, TypeError) as error:
            raise TypeError(f"{name} cannot be used without a copy: {error}") from None
    try:
        return np.asarray(memoryview(x))
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be an array, got {type(x).__name__}") from None


def resolve(x: Any, name: str, *, writable: bool = False) -> NumpyArray:
    """Return a NumPy view of an array's memory.

    Parameters
    ----------
    x : array
        NumPy, or anything with DLPack or the buffer protocol, on the CPU.
    name : str
        What the caller names the argument, for messages.
    writable : bool, default False

    Raises
    ------
    TypeError
        If `x` is no array, or of a dtype that pyccl does not handle.
    ValueError
        If it is not C-contiguous, not aligned, or read-only where it must be written.
    """
    a = _to_numpy(x, name)
    if isinstance(a, np.ma.MaskedArray):
        raise TypeError(f"{name} must not be a masked array")
    if name_of(a.dtype) == "bfloat16":
        _bfloat16()
    if name_of(a.dtype) not in SUPPORTED or a.dtype.fields is not None:
        raise TypeError(f"{name} has dtype {a.dtype}, which pyccl does not handle")
    if not a.dtype.isnative:
        raise TypeError(f"{name} has dtype {a.dtype}, which is not of native byte order")
    if not a.flags.c_contiguous:
        raise ValueError(f"{name} must be C-contiguous, got strides {a.strides} for shape {a.shape}")
    if not a.flags.aligned:
        raise ValueError(f"{name} must be aligned to its dtype")
    if writable and not a.flags.writeable:
        raise ValueError(f"{name} is read-only")
    return a


def empty_like(x: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[Any, NumpyArray]:
    """Return a new array of the kind of `x`, and a NumPy view of it."""
    view = np.empty(shape, dtype)
    return like(x, view), view


def like(x: Any, view: NumpyArray) -> Any:
    """Return `view` as the kind of array that `x` is: a torch tensor for a torch tensor, else as it is."""
    if not _is_torch(x):
        return view
    import torch

    if view.dtype.name == "bfloat16":
        return torch.from_numpy(view.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(view)


def span(a: NumpyArray) -> tuple[int, int]:
    """Return the first address of a contiguous array and the one behind its last."""
    start = a.__array_interface__["data"][0]
    return start, start + a.nbytes


def overlap(a: NumpyArray, b: NumpyArray) -> bool:
    """Return whether two contiguous arrays share a byte."""
    (a0, a1), (b0, b1) = span(a), span(b)
    return a0 < b1 and b0 < a1 and a0 < a1 and b0 < b1
