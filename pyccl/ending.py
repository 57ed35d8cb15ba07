"""How a communicator ends: closed, aborted, dropped, at the interpreter's end, or in the child of a fork."""

from __future__ import annotations

import atexit
import os
import sys
import warnings
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from pyccl import farewell
from pyccl.errors import CommError, Error
from pyccl.roll_call import roll_call

if TYPE_CHECKING:
    from pyccl._core import Communicator as Core
    from pyccl.bootstrap import Bootstrap

__all__ = ["Ending", "note_all_losses"]

T = TypeVar("T", bound="Ending")
PATIENCE = 5.0  # seconds that the interpreter's end waits for queued operations
_open: weakref.WeakSet[Ending] = weakref.WeakSet()


class Ending:
    """What a communicator does when it ends."""

    _core: Core
    _closed = False
    _forked = False

    def _begin(self, core: Core, bootstrap: Bootstrap, forget: Callable[[], None], launched: Sequence[int]) -> None:
        self._bootstrap = bootstrap
        self._note = partial(_note_losses, core, launched)

        def forget_all() -> None:  # what to do once the core is closed
            _note_losses(core, launched)
            forget()

        self._forget = forget_all
        self._finalizer = weakref.finalize(self, _drop, core, bootstrap, forget_all, -1.0)
        self._finalizer.atexit = False  # _at_exit knows how patient to be
        _open.add(self)

    def _check_open(self) -> None:
        if self._forked:
            raise CommError("the communicator is used after fork: it belongs to the parent process")
        if self._closed:
            raise CommError("the communicator is closed")

    @property
    def lost(self) -> tuple[int, ...]:
        """The ranks whose processes have died, as far as this rank knows."""
        return tuple(self._core.lost())

    def abort(self, reason: str) -> None:
        """Break the communicator on every rank at once, from any thread.

        Parameters
        ----------
        reason : str
            Operations that run and all later ones raise `PeerAborted` with this rank and this text; what has broken the
            communicator before stays the reason.
        """
        self._check_open()
        self._core.abort(str(reason))

    def close(self) -> None:
        """Wait for what is queued and let go of memory and threads. May be repeated; later calls raise CommError.

        Raises
        ------
        Error
            The first error of an asynchronous operation that nobody has waited for; the communicator is closed.
        """
        if not self._closed:
            self._closed = True
            self._finalizer.detach()
            _open.discard(self)
            _close(self._core, self._bootstrap, self._forget, -1.0)

    def __enter__(self: T) -> T:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; an exception that passes is the reason for which the peers' operations end."""
        if error is None or self._closed:
            return self.close()
        if not (isinstance(error, SystemExit) and error.code in (None, 0)):
            self._core.abort(f"{type(error).__name__}: {error}")
        try:
            self.close()
        except Error as unseen:
            _warn(unseen)

    def _orphan(self) -> None:
        self._forked = self._closed = True
        self._core.orphan()


def _note_losses(core: Core, launched: Sequence[int]) -> None:
    """Let later communicators know whom this one has lost; `launched` are the launcher's numbers of its ranks."""
    roll_call().note(launched[rank] for rank in core.lost() if launched[rank] >= 0)


def note_all_losses() -> None:
    """Do so for all communicators that are open."""
    for comm in list(_open):
        if not comm._closed:
            comm._note()


def _close(core: Core, bootstrap: Bootstrap, forget: Callable[[], None], patience: float) -> None:
    try:
        core.close(patience)
    finally:
        forget()
        if core.lost():
            farewell.forgo()
        elif core.broken():
            farewell.broken()
        if not core.broken():  # MPI frees a communicator with all its ranks: with a dead one that would hang
            bootstrap.close()


def _drop(core: Core, bootstrap: Bootstrap, forget: Callable[[], None], patience: float) -> None:
    """Close what its owner has forgotten."""
    try:
        _close(core, bootstrap, forget, patience)
    except Error as unseen:
        _warn(unseen)


def _warn(unseen: Error) -> None:
    warnings.warn(f"an operation that nobody waited for has failed: {unseen}", RuntimeWarning, stacklevel=3)


@atexit.register
def _at_exit() -> None:
    """Close what is open, and meet; an exception that ends the program is told like one that leaves `with`."""
    error = getattr(sys, "last_value", None)
    for comm in list(_open):
        if comm._finalizer.detach():
            if error is not None:
                comm._core.abort(f"{type(error).__name__}: {error}")
            _drop(comm._core, comm._bootstrap, comm._forget, PATIENCE)
    farewell.meet()


def _after_fork() -> None:
    """A child must not speak in its parent's name, nor hold its links open, nor end what its parent goes on with."""
    for comm in list(_open):
        comm._finalizer.detach()
        comm._orphan()


os.register_at_fork(after_in_child=_after_fork)
