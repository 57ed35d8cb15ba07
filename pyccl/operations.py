"""The collectives as methods. Each has an asynchronous twin that returns a Work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pyccl.methods import announced, collective
from pyccl.ops import Op

if TYPE_CHECKING:
    from pyccl._core import Communicator as Core
    from pyccl._core import Work

__all__ = ["Operations"]


class Operations:
    """The collective methods of a communicator.

    Common parameters: `x` is a C-contiguous CPU array (NumPy, or anything with DLPack or the buffer protocol) of
    bool, (u)int8…64, float16, bfloat16, float32, float64, complex64 or complex128. `op` is "sum", "avg", "prod",
    "min", "max", "band", "bor", "bxor", or an `Op` (`premul_sum`, `user_op`). `algorithm` is "auto" or one of
    `pyccl.algorithms.algorithms(collective)`. `timeout` is in seconds; default: the communicator's.
    `deterministic=True` takes only algorithms that give the same bits whatever the size, division into calls, algorithm
    and transport; see `Communicator`.

    Common errors: TypeError and ValueError for arguments, on the rank that made the mistake, `PeerAborted` on
    the others; `MismatchError` on every rank if they called different things; `Timeout` and `PeerLost`, after which
    the communicator must not be used again. A failed call leaves inputs as they were and outputs undefined.
    """

    _core: Core

    def _refuse_call(self, error: Exception) -> None:
        raise TypeError("Operations is the base of Communicator")

    def _run(self, collective: str, *args: Any, **options: Any) -> Any:
        raise TypeError("Operations is the base of Communicator")

    def _submit(self, collective: str, *args: Any, **options: Any) -> Work:
        raise TypeError("Operations is the base of Communicator")

    @collective
    def all_reduce(
        self, x: Any, op: str | Op = "sum", *, out: Any = None, deterministic: bool = False,
        algorithm: str = "auto", timeout: float | None = None,
    ) -> Any:  # fmt: skip
        """Reduce `x` over all ranks; every rank receives the result.

        Parameters
        ----------
        x : array, shape (...,)
            The same shape and dtype on every rank.
        op : str or Op, default "sum"
            Elementwise. 16-bit floating types are accumulated in float32.
        out : array like `x`, optional
            Where to write; may be `x` itself (in place).

        Returns
        -------
        array, same shape and dtype as `x`

        Examples
        --------
        >>> comm.all_reduce(np.full(3, comm.rank + 1.0))    # 1 rank
        array([1., 1., 1.])
        """
        options: dict[str, Any] = {"deterministic": deterministic, "algorithm": algorithm, "timeout": timeout}
        return self._run("all_reduce", x, op, out=out, **options)

    @collective
    def reduce_scatter(
        self, x: Any, op: str | Op = "sum", *, counts: Sequence[int] | None = None, out: Any = None,
        deterministic: bool = False, algorithm: str = "auto", timeout: float | None = None,
    ) -> Any:  # fmt: skip
        """Reduce `x` over all ranks; rank r receives block r of the result.

        Parameters
        ----------
        x : array, shape (...,)
        op : str or Op, default "sum"
        counts : sequence of int, shape (size,), optional
            Elements of every rank's block, zero included; default: sizes that differ by at most one, larger first.
        out : array, optional
            Of ``counts[rank]`` elements; may be that block of `x`.

        Returns
        -------
        array, shape (counts[rank],)
            With the trailing axes of `x` where every block is a whole number of rows.

        Examples
        --------
        >>> comm.reduce_scatter(np.arange(4.0))    # 1 rank
        array([0., 1., 2., 3.])
        """
        options: dict[str, Any] = {"deterministic": deterministic, "algorithm": algorithm, "timeout": timeout}
        return self._run("reduce_scatter", x, op, counts=counts, out=out, **options)

    @collective
    def all_gather(
        self, x: Any, *, counts: Sequence[int] | None = None, out: Any = None, algorithm: str = "auto",
        timeout: float | None = None,
    ) -> Any:  # fmt: skip
        """Concatenate every rank's `x`, in rank order, on every rank.

        Parameters
        ----------
        x : array, shape (n, ...)
        counts : sequence of int, shape (size,), optional
            Elements of every rank's `x`. Default: from `out`, split as `reduce_scatter` does; without `out`, all equal.
        out : array, optional
            Of ``sum(counts)`` elements; `x` may be its own block of it.

        Returns
        -------
        array, shape (sum of n, ...)

        Examples
        --------
        >>> comm.all_gather(np.arange(2))    # 1 rank
        array([0, 1])
        """
        return self._run("all_gather", x, counts=counts, out=out, algorithm=algorithm, timeout=timeout)

    @collective
    def broadcast(self, x: Any, *, root: int = 0, algorithm: str = "auto", timeout: float | None = None) -> Any:
        """Overwrite `x` on every rank with the root's `x`, and return it.

        Parameters
        ----------
        x : array
            The same shape and dtype on every rank; it need not be writable on the root.
        root : int, default 0
        """
        return self._run("broadcast", x, root=root, algorithm=algorithm, timeout=timeout)

    @announced
    def reduce(
        self, x: Any, op: str | Op = "sum", *, root: int = 0, out: Any = None, deterministic: bool = False,
        algorithm: str = "auto", timeout: float | None = None,
    ) -> Any:  # fmt: skip
        """Reduce `x` over all ranks; the root receives the result, the others None.

        Parameters
        ----------
        x : array
        op : str or Op, default "sum"
        root : int, default 0
        out : array like `x`, optional
            Only looked at on the root; may be `x`.
        """
        options: dict[str, Any] = {"deterministic": deterministic, "algorithm": algorithm, "timeout": timeout}
        return self._run("reduce", x, op, root=root, out=out, **options)

    @announced
    def gather(
        self, x: Any, *, root: int = 0, counts: Sequence[int] | None = None, out: Any = None,
        algorithm: str = "auto", timeout: float | None = None,
    ) -> Any:  # fmt: skip
        """Concatenate every rank's `x` on the root; the others receive None.

        Parameters
        ----------
        x : array, shape (n, ...)
        root : int, default 0
        counts : sequence of int, shape (size,), optional
            Elements of every rank's `x`, the same list on every rank; default: all equal.
        out : array, optional
            Only looked at on the root.
        """
        return self._run("gather", x, root=root, counts=counts, out=out, algorithm=algorithm, timeout=timeout)

    @announced
    def scatter(
        self, x: Any = None, *, root: int = 0, counts: Sequence[int] | None = None, out: Any = None,
        algorithm: str = "auto", timeout: float | None = None,
    ) -> Any:  # fmt: skip
        """Hand block r of the root's `x` to rank r.

        Parameters
        ----------
        x : array
            Needed on the root. Elsewhere an array of the same shape and dtype, or None if `out` is given.
        root : int, default 0
        counts : sequence of int, shape (size,), optional
            Elements of every block, the same list on every rank; default: as even as possible.
        out : array, optional

        Returns
        -------
        array, shape (counts[rank],)
        """
        return self._run("scatter", x, root=root, counts=counts, out=out, algorithm=algorithm, timeout=timeout)

    @announced
    def all_to_all(
        self, x: Any, *, send_counts: Sequence[int] | None = None, recv_counts: Sequence[int] | None = None,
        out: Any = None, algorithm: str = "auto", timeout: float | None = None,
    ) -> Any:  # fmt: skip
        """Send block r of `x` to rank r; receive the blocks meant for this rank, in rank order.

        Parameters
        ----------
        x : array
            Of a multiple of `size` elements, unless counts are given.
        send_counts, recv_counts : sequence of int, shape (size,), optional
            Elements to every rank and from every rank, zero included; rank a's ``send_counts[b]`` is rank b's
            ``recv_counts[a]``.
        out : array, optional
            May be `x` (which is then copied first).

        Returns
        -------
        array, shape of `x`, or (sum(recv_counts),)
        """
        options = {"out": out, "algorithm": algorithm, "timeout": timeout}
        return self._run("all_to_all", x, send_counts=send_counts, recv_counts=recv_counts, **options)

    @collective
    def barrier(self, *, algorithm: str = "auto", timeout: float | None = None) -> None:
        """Return once every rank has come."""
        self._run("barrier", algorithm=algorithm, timeout=timeout)

    @announced
    def all_reduce_async(self, x: Any, op: str | Op = "sum", **options: Any) -> Work:
        """Start an `all_reduce`; its arrays belong to the library until ``wait()`` has returned."""
        return self._submit("all_reduce", x, op, **options)

    @announced
    def reduce_scatter_async(self, x: Any, op: str | Op = "sum", **options: Any) -> Work:
        """Start a `reduce_scatter`."""
        return self._submit("reduce_scatter", x, op, **options)

    @announced
    def all_gather_async(self, x: Any, **options: Any) -> Work:
        """Start an `all_gather`."""
        return self._submit("all_gather", x, **options)

    @announced
    def broadcast_async(self, x: Any, **options: Any) -> Work:
        """Start a `broadcast`."""
        return self._submit("broadcast", x, **options)

    @announced
    def reduce_async(self, x: Any, op: str | Op = "sum", **options: Any) -> Work:
        """Start a `reduce`."""
        return self._submit("reduce", x, op, **options)

    @announced
    def gather_async(self, x: Any, **options: Any) -> Work:
        """Start a `gather`."""
        return self._submit("gather", x, **options)

    @announced
    def scatter_async(self, x: Any = None, **options: Any) -> Work:
        """Start a `scatter`."""
        return self._submit("scatter", x, **options)

    @announced
    def all_to_all_async(self, x: Any, **options: Any) -> Work:
        """Start an `all_to_all`."""
        return self._submit("all_to_all", x, **options)

    @announced
    def barrier_async(self, **options: Any) -> Work:
        """Start a `barrier`."""
        return self._submit("barrier", **options)
