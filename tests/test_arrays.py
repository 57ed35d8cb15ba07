"""What counts as an array: shapes, buffers, other libraries; nothing is copied."""

from __future__ import annotations

import array
import mmap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyccl
from tests import ranks

SIZE = 3


class Exporter:
    """An array of another library: DLPack is all that it has."""

    def __init__(self, a: Any) -> None:
        self.a = a

    def __dlpack__(self, **options: Any) -> Any:
        return self.a.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.a.__dlpack_device__()


class Elsewhere(Exporter):
    """An array of another device."""

    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("this is no CPU memory")

    def __dlpack_device__(self) -> Any:
        return (2, 0)  # CUDA


SHAPES: list[tuple[int, ...]] = [(), (0,), (1,), (7,), (0, 3), (3, 0, 2), (1, 1), (2, 3), (6, 1), (2, 3, 4)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_results_have_the_shape_of_what_went_in(shape: tuple[int, ...]) -> None:
    def body(comm: pyccl.Communicator) -> None:
        x = np.full(shape, comm.rank + 1.0)
        for y in (comm.all_reduce(x), comm.all_reduce(x, algorithm="ring"), comm.all_reduce_async(x).wait()):
            assert y.shape == shape
            assert (y == 6).all()
        assert comm.broadcast(x.copy(), root=2).shape == shape
        assert comm.all_reduce(x, out=x) is x
        gathered = comm.all_gather(np.full(shape, comm.rank))
        assert gathered.shape == ((SIZE * shape[0], *shape[1:]) if shape else (SIZE,))
        assert comm.empty(shape, "int16").shape == shape

    ranks.run(SIZE, body)


def test_blocks_keep_their_rows() -> None:
    def body(comm: pyccl.Communicator) -> None:
        x = np.arange(6 * 4.0).reshape(6, 4)
        assert comm.reduce_scatter(x).shape == (2, 4)
        assert comm.scatter(x, root=0).shape == (2, 4)
        assert comm.gather(x[:2].copy(), root=0) is None or comm.rank == 0
        assert comm.all_to_all(x).shape == (6, 4)
        assert comm.reduce_scatter(np.ones((2, 4)), counts=[3, 3, 2]).shape == ((3,), (3,), (2,))[comm.rank]

    ranks.run(SIZE, body)


def test_one_dimension_may_be_called_fortran_order() -> None:
    def body(comm: pyccl.Communicator) -> None:
        for x in (np.ones(4, order="F"), np.ones((4, 1), order="F"), np.ones((1, 4), order="F"), np.ones((1, 1, 1)).T):
            assert (comm.all_reduce(x) == SIZE).all()
        strided = np.ones((6, 2))[::6]  # one row: contiguous whatever its stride
        assert (comm.all_reduce(strided) == SIZE).all()

    ranks.run(SIZE, body)


BUFFERS: dict[str, Callable[[int], Any]] = {
    "array.array": lambda v: array.array("d", [v] * 5),
    "bytearray": lambda v: bytearray([v] * 5),
    "memoryview": lambda v: memoryview(bytearray([v] * 5)),
    "memoryview of an array": lambda v: memoryview(np.full(5, v, np.int32)),
    "part of a buffer": lambda v: memoryview(bytearray([v] * 9))[2:7],
    "DLPack": lambda v: Exporter(np.full(5, v, np.float32)),
    "matrix": lambda v: np.full(5, v).view(np.recarray),
}


@pytest.mark.parametrize("name", BUFFERS)
def test_buffers_are_used_where_they_lie(name: str) -> None:
    def body(comm: pyccl.Communicator) -> None:
        x = BUFFERS[name](comm.rank + 1)
        if name == "DLPack":
            assert np.asarray(comm.all_reduce(x)).tolist() == [6] * 5
            x = Exporter(np.full(5, comm.rank + 1, np.float32))
            try:
                result = comm.all_reduce(x, out=x)
            except ValueError as error:  # DLPack of old carries no permission to write
                assert "read-only" in str(error)  # noqa: PT017
                return
            assert result.a.tolist() == [6] * 5
            return
        assert comm.all_reduce(x, out=x) is x
        assert np.asarray(x).tolist() == [6] * 5

    ranks.run(SIZE, body)


def test_memory_mapped_files() -> None:
    def body(comm: pyccl.Communicator) -> None:
        with mmap.mmap(-1, 4096) as pages:
            x = np.frombuffer(pages, np.int64)
            x[:] = comm.rank
            assert comm.all_reduce(x, out=x) is x
            assert (x == 3).all()
            del x

    ranks.run(SIZE, body)


def test_arrays_on_another_device_are_refused_everywhere() -> None:
    def body(comm: pyccl.Communicator) -> None:
        x = np.ones(3)
        error = ranks.outcome(lambda: comm.all_reduce(Elsewhere(x) if comm.rank == 1 else x))
        assert isinstance(error, TypeError if comm.rank == 1 else pyccl.PeerAborted), repr(error)
        ranks.usable(comm)

    ranks.run(SIZE, body)


def test_results_are_written_to_the_array_that_was_given() -> None:
    def body(comm: pyccl.Communicator) -> None:
        for count in (1, 1000, 300_000):
            x, out = np.ones(count), np.empty(count)
            where = out.__array_interface__["data"]
            for algorithm in ("one_shot", "two_shot", "ring"):
                assert comm.all_reduce(x, out=out, algorithm=algorithm) is out
            work = comm.all_reduce_async(x, out=out)
            assert work.wait() is out
            assert comm.plan("all_reduce", x, out=out)() is out
            assert out.__array_interface__["data"] == where
            assert (out == SIZE).all()

    ranks.run(SIZE, body)


@pytest.mark.parametrize("dtype", ["int8", "float32", "complex128", "bfloat16"])
def test_odd_addresses_tails_and_neighbours(dtype: str) -> None:
    """Any element may be the first and any the last; what lies before and behind stays as it is."""
    from pyccl.arrays import dtype_of

    def body(comm: pyccl.Communicator) -> None:
        kind = dtype_of(dtype)
        op, values = ("prod", 2) if dtype.startswith("complex") else ("max", 7)  # doing it again changes nothing
        for start in (0, 1, 3, 5, 17):
            for count in (1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 129):
                memory = np.full(200, 9).astype(kind)
                x = memory[start : start + count]
                x[:] = np.arange(count) % values
                for algorithm in ("one_shot", "two_shot", "ring"):
                    comm.all_reduce(x, op, out=x, algorithm=algorithm)
                y = comm.all_reduce(x)
                assert np.array_equal(y, (np.arange(count) % values * SIZE).astype(kind))
                assert (memory[:start] == kind.type(9)).all()
                assert (memory[start + count :] == kind.type(9)).all()

    ranks.run(SIZE, body)


def test_registered_arrays_may_be_used_in_part_and_returned() -> None:
    def body(comm: pyccl.Communicator) -> None:
        for _ in range(3):
            memory = comm.empty(1000, "int64")
            assert not memory.any()
            part = memory[100:333]
            part[:] = comm.rank + 1
            del memory  # the view keeps it
            assert comm._core.registered(part.__array_interface__["data"][0], part.nbytes)
            assert (comm.all_reduce(part, out=part) == 6).all()
            address, nbytes = part.__array_interface__["data"][0], part.nbytes
            del part
            assert not comm._core.registered(address, nbytes)

    ranks.run(SIZE, body)


def test_registered_arrays_outlive_their_communicator() -> None:
    def body(comm: pyccl.Communicator) -> None:
        x = comm.empty(100)
        x[:] = comm.rank
        comm.all_reduce(x, out=x)
        comm.close()
        assert (x == 3).all()
        x[:] = 0

    ranks.run(SIZE, body)


def test_numba_arrays_and_jax() -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed")

    def body(comm: pyccl.Communicator) -> None:
        x = jax.numpy.full(5, comm.rank + 1.0)
        assert np.asarray(comm.all_reduce(x)).tolist() == [6.0] * 5
        error = ranks.outcome(lambda: comm.all_reduce(x, out=x))
        assert isinstance(error, ValueError), "JAX arrays are immutable"

    ranks.run(SIZE, body)


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16", "int64", "uint8", "bool"])
def test_torch_tensors(dtype: str) -> None:
    import torch

    kind = getattr(torch, dtype)

    def body(comm: pyccl.Communicator) -> None:
        x = torch.ones(2, 5).to(kind)
        y = comm.all_reduce(x, "max")
        assert y.dtype == kind
        assert y.shape == (2, 5)
        where = x.data_ptr()
        assert comm.all_reduce(x, "max", out=x) is x
        assert x.data_ptr() == where
        with pytest.raises((ValueError, pyccl.PeerAborted), match="contiguous"):
            comm.all_reduce(x.t(), "max")

    ranks.run(SIZE, body)
