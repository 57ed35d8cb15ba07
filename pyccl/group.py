"""Several operations launched as one."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from pyccl import _core
from pyccl.errors import CommError
from pyccl.in_flight import InFlight
from pyccl.operations import Operations
from pyccl.point_to_point import Exchange, PointToPoint, messages_of

if TYPE_CHECKING:
    from pyccl.calls import Group
    from pyccl.communicator import Communicator

__all__ = ["Groups", "OperationGroup"]


class OperationGroup(Operations, PointToPoint):
    """Records operations and launches them together at the end of its ``with`` block; made by `Communicator.group`.

    Operations may be called on the group or on the communicator: inside the block both record. They return their
    outputs at once, which are filled when the block has ended. All messages of the group progress together, whatever
    their order, and then the collectives run in the order in which they were recorded. So an array that one operation
    of the group writes must not be used by another one of it.

    If some of the operations fail in a way that leaves the communicator intact (`MismatchError`, `PeerAborted`), the
    others are done all the same, and the first failure is raised.

    An exception inside the block launches nothing and propagates. If a collective has been recorded until then, all
    peers see `PeerAborted` at the end of their blocks, none launches anything, and the communicator stays usable. If
    not, this rank cannot know what its peers wait for, and aborts the communicator.

    Plans, `empty`, `register` and `split` are not recorded: they run at once.

    Attributes
    ----------
    work : Work or None
        Of a group with ``asynchronous=True``, after the block.
    """

    def __init__(self, comm: Communicator, asynchronous: bool) -> None:
        self._comm, self._asynchronous = comm, asynchronous
        self._core = comm._core
        self._calls: list[Exchange] = []
        self._plans: list[_core.Plan] = []
        self._results: list[Any] = []
        self._asked = False  # for a collective, even one that failed
        self._error: Exception | None = None
        self.work: _core.Work | None = None

    def __enter__(self) -> OperationGroup:
        self._comm._start_recording(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._comm._stop_recording()
        if error is None and self._error is not None:  # caught inside the block, but the group is not what was meant
            self._give_up(self._error)
            raise self._error
        if error is not None:
            self._give_up(error)
            return
        try:
            messages = messages_of(self._calls)
        except ValueError as unmatched:
            self._give_up(unmatched)
            raise
        if self._asynchronous:
            self.work = self._core.launch_async(messages, self._plans, self._results)
        elif messages or self._plans:
            self._core.launch(messages, self._plans)

    def _give_up(self, error: BaseException) -> None:
        reason = f"the group was left by {type(error).__name__}: {error}"
        if self._asked and isinstance(error, Exception):  # not at Ctrl-C, since a refusal waits for the peers
            with contextlib.suppress(CommError):
                self._core.refuse(reason, -1.0)
        elif self._comm.size > 1:
            self._core.abort(reason)

    def _refuse_call(self, error: Exception) -> None:
        self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._asked = True
        self._error = self._error or error

    def _group(self) -> Group:
        return self._comm

    def _run(self, collective: str, *args: Any, **options: Any) -> Any:
        try:
            call = self._comm._resolve(collective, args, options, announce=False)
            self._plans.append(self._core.plan(call.arguments, call.result))
        except Exception as error:
            self._failed(error)
            raise
        self._asked = True
        self._results.append(call.result)
        return call.result

    def _exchange(self, call: Exchange) -> Any:
        self._calls.append(call)
        self._results.append(call.result)
        return call.result

    def _submit(self, collective: str, *args: Any, **options: Any) -> _core.Work:
        raise ValueError(
            f"inside a group call {collective}, not {collective}_async: group(asynchronous=True) gives a Work"
        )

    def _exchange_async(self, call: Exchange) -> _core.Work:
        raise ValueError("inside a group call send, recv and sendrecv: group(asynchronous=True) gives a Work")


class Groups(Operations, PointToPoint):
    """A communicator's way to run its operations: at once, or by handing them to the group that is being recorded."""

    _recording: OperationGroup | None = None
    _in_flight: InFlight | None = None
    _closed: bool

    def _check_open(self) -> None:
        raise TypeError("Groups is the base of Communicator")

    def _group(self) -> Group:
        self._check_open()
        return cast("Communicator", self)

    def _exchange(self, call: Exchange) -> Any:
        if self._recording is not None:
            return self._recording._exchange(call)
        messages = messages_of([call])
        if self._in_flight is not None:
            self._in_flight.check_messages(call)
        self._core.launch(messages, [])
        return call.result

    def _exchange_async(self, call: Exchange) -> Any:
        if self._recording is not None:
            return self._recording._exchange_async(call)
        if self._in_flight is not None:
            return self._in_flight.exchange(self._core, call, messages_of([call]))
        return self._core.launch_async(messages_of([call]), [], call.result)

    def group(self, *, asynchronous: bool = False) -> OperationGroup:
        """Return a context in which operations are recorded, to be launched as one at its end.

        Parameters
        ----------
        asynchronous : bool, default False
            Do not wait at the end; the group's `work` says when all is done.

        Examples
        --------
        >>> left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
        >>> received = np.empty(2)
        >>> with comm.group():
        ...     comm.send(np.ones(2), right)
        ...     total = comm.all_reduce(np.full(2, 3.0))
        ...     _ = comm.recv(received, left)
        >>> received, total    # 1 rank
        (array([1., 1.]), array([3., 3.]))
        """
        return OperationGroup(cast("Communicator", self), asynchronous)

    def _start_recording(self, group: OperationGroup) -> None:
        self._check_open()
        if self._recording is not None:
            raise ValueError("groups of one communicator do not nest")
        self._recording = group
        self._core.record(True)

    def _stop_recording(self) -> None:
        self._recording = None
        self._core.record(self._closed)
