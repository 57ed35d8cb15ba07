"""Arrays that the peers of a node reach: new ones, and the user's own where they lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from pyccl import _core
from pyccl.arrays import NumpyArray, dtype_of, resolve, span
from pyccl.checks import dimensions
from pyccl.methods import announced
from pyccl.runs import Runs

__all__ = ["RegisteredMemory", "Registration", "Registrations"]


class Registration:
    """What `Communicator.register` returns: an array that is registered until `close`, or to the end of a `with`.

    Attributes
    ----------
    array : array
        What has been registered.
    nbytes : int
    """

    def __init__(self, owner: Registrations, number: int, x: Any, view: NumpyArray) -> None:
        self.array: Any = x
        self.nbytes: int = view.nbytes
        self._owner = owner
        self._number = number
        self._view = view  # keeps the memory, whatever happens to the object around it

    @property
    def closed(self) -> bool:
        """Whether the array is private again."""
        return not self._owner.has(self)

    def close(self) -> None:
        """Make the array private again, at the same address and with the same values. Not collective; may be repeated.

        Waits for what is queued. Until every rank has closed its own, operations on the array take the staged way.

        Raises
        ------
        CommError
            If memory is short. The array stays in shared memory, where it works on; `close` may be called again.
        """
        self._owner.release(self)

    def __enter__(self) -> Registration:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<pyccl.Registration of {self.nbytes} bytes{', closed' if self.closed else ''}>"


class Registrations:
    """Those of one communicator; keeps their arrays alive."""

    def __init__(self, core: _core.Communicator) -> None:
        self._core = core
        self._known: dict[int, Registration] = {}

    def add(self, x: Any, view: NumpyArray) -> Registration:
        number = self._core.adopt(span(view)[0], view.nbytes, -1.0)
        made = self._known[number] = Registration(self, number, x, view)
        return made

    def has(self, registration: Registration) -> bool:
        return registration._number in self._known

    def release(self, registration: Registration) -> None:
        if self.has(registration):
            self._core.release(registration._number)
            del self._known[registration._number]

    def forget(self) -> None:
        """Let go of all arrays; the core has made them private."""
        self._known.clear()


class RegisteredMemory(Runs):
    """The methods of a communicator that make arrays registered."""

    _registrations: Registrations

    @announced
    def empty(self, shape: int | Sequence[int], dtype: Any = "float32") -> NumpyArray:
        """Return a registered array of zeros: it lies in memory that all ranks of the node have mapped.

        Collective: every rank asks for the same number of bytes. Operations on registered arrays move no copies
        through a staging area. The memory is returned when the array and all views of it are gone.
        """
        self._check_open()
        with self._refusing():
            kind = dtype_of(dtype)
            dims = dimensions(shape)
            if any(n < 0 for n in dims):
                raise ValueError(f"shape must not be negative, got {dims}")
            nbytes = math.prod(dims) * kind.itemsize
            if nbytes >= 2**62:
                raise ValueError(f"shape {dims} is more than any memory holds")
        return self._core.allocate(kind, list(dims), nbytes, -1.0)

    @announced
    def register(self, x: Any) -> Registration:
        """Make an existing array registered where it lies, as if it had come from `empty`. Collective.

        Its address, its values and all views of it stay what they are; operations on it or on parts of it move no
        copies through a staging area. Its whole pages move into memory that the ranks of the node share; the bytes in
        its first and last page, which other arrays may own the rest of, are copied there for each operation.

        Parameters
        ----------
        x : array
            Writable, C-contiguous, in ordinary memory; of the same number of bytes on every rank. It is kept alive
            until the registration is closed. Nobody may write to it during the call.

        Returns
        -------
        Registration
            Its `close`, the end of a `with` block or `Communicator.close` makes the array private again.

        Raises
        ------
        TypeError, ValueError
            If `x` is no such array, is registered already, overlaps one that is, or lies in memory that cannot
            move: read-only, shared, of a file or a device, in hugetlb pages, locked, on a stack. The other ranks
            raise `PeerAborted`.
        MismatchError
            If the ranks' numbers of bytes differ.
        Error
            If a rank has no memory left. After any error the array is what it was, on every rank.

        Examples
        --------
        >>> x = np.ones(100_000)
        >>> with comm.register(x):
        ...     _ = comm.all_reduce(x, out=x)
        """
        self._check_open()
        with self._refusing():
            view = resolve(x, "x", writable=True)
        return self._registrations.add(x, view)
