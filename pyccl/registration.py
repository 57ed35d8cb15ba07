"""Arrays of the user's own that are registered where they lie."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from pyccl import _core
from pyccl.arrays import NumpyArray, span

__all__ = ["Registration", "Registrations"]


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
        OSError
            If memory is short. The array works on, in shared memory.
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
        if self._known.pop(registration._number, None) is not None:
            self._core.release(registration._number)

    def forget(self) -> None:
        """Let go of all arrays; the core has made them private."""
        self._known.clear()
