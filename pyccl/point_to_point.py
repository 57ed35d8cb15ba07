"""Messages between two ranks, as methods. Each has an asynchronous twin that returns a Work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyccl._core import Communicator as Core
from pyccl._core import Message, Work
from pyccl.arrays import overlap, resolve
from pyccl.checks import integer, seconds

if TYPE_CHECKING:
    from pyccl._core import Communicator as Core
    from pyccl._core import Work
    from pyccl.calls import Group

__all__ = ["Exchange", "PointToPoint", "messages_of"]


@dataclass(frozen=True)
class Exchange:
    """The messages of one call, ready to run, and what it returns.

    Attributes
    ----------
    messages : tuple of Message
    result : object
    balance : int
        How many more messages it sends to its own rank than it receives from it.
    """

    messages: tuple[Message, ...]
    result: Any
    balance: int


def send(comm: Group, x: Any, dest: int, *, tag: int = 0, timeout: float | None = None) -> Exchange:
    peer = integer(dest, "dest", 0, comm.size)
    message = Message(True, peer, integer(tag, "tag", 0, 2**31), resolve(x, "x"), seconds(timeout))
    return Exchange((message,), None, int(peer == comm.rank))


def recv(comm: Group, out: Any, source: int, *, tag: int = 0, timeout: float | None = None) -> Exchange:
    peer = integer(source, "source", 0, comm.size)
    message = Message(False, peer, integer(tag, "tag", 0, 2**31), resolve(out, "out", writable=True), seconds(timeout))
    return Exchange((message,), out, -int(peer == comm.rank))


def sendrecv(
    comm: Group, x: Any, dest: int, out: Any, source: int, *, tag: int = 0, timeout: float | None = None
) -> Exchange:
    if overlap(resolve(x, "x"), resolve(out, "out")):
        raise ValueError("out overlaps x: both are used at once")
    sends = send(comm, x, dest, tag=tag, timeout=timeout)
    receives = recv(comm, out, source, tag=tag, timeout=timeout)
    return Exchange(sends.messages + receives.messages, out, sends.balance + receives.balance)


class PointToPoint:
    """The point-to-point methods of a communicator.

    Messages from one rank to another match in the order in which they are issued. If tag, dtype or number of elements
    differ at the two ends, both raise `MismatchError`, nothing is written, and the communicator stays usable. A send
    returns when the receiver has accepted it; two ranks that both send first wait for each other until the timeout:
    `sendrecv`, `Communicator.group` and the asynchronous twins are the cure.

    Messages are not collective: an argument error is raised on the rank that made it, and a peer that waits for
    the message times out. After `Timeout` or `PeerLost` the communicator must not be used again.

    Asynchronous messages issued in a row, and a blocking one behind them, progress together; behind a queued
    collective they wait for it.

    Common parameters: arrays as in `Operations`; `tag` is in [0, 2**31); `timeout` is in seconds, default: the
    communicator's.
    """

    _core: Core

    def _exchange(self, call: Exchange) -> Any:
        raise TypeError("PointToPoint is the base of Communicator")

    def _exchange_async(self, call: Exchange) -> Work:
        raise TypeError("PointToPoint is the base of Communicator")

    def _group(self) -> Group:
        raise TypeError("PointToPoint is the base of Communicator")

    def send(self, x: Any, dest: int, *, tag: int = 0, timeout: float | None = None) -> None:
        """Send `x` to another rank; return when that rank has accepted it.

        Parameters
        ----------
        x : array
        dest : int
            Another rank; this one only inside a group.
        tag : int, default 0
            Must be the receiver's.
        timeout : float, optional

        Raises
        ------
        MismatchError
            On both ranks, if tag, dtype or number of elements differ.
        Timeout
            If the peer does not receive in time.
        PeerLost
            If it dies.
        """
        if timeout is not None or not self._core.send(x, dest, tag):  # plain NumPy arrays; all else is looked at below
            self._exchange(send(self._group(), x, dest, tag=tag, timeout=timeout))

    def recv(self, out: Any, source: int, *, tag: int = 0, timeout: float | None = None) -> Any:
        """Fill `out` with what another rank sends, and return it.

        Parameters
        ----------
        out : array
            Of the dtype and number of elements that the peer sends.
        source : int
            Another rank; this one only inside a group.
        tag : int, default 0
            Must be the sender's.
        timeout : float, optional

        Raises
        ------
        MismatchError
            On both ranks, if tag, dtype or number of elements differ; `out` is as it was.
        Timeout
            If the peer does not send in time.
        PeerLost
            If it dies.
        """
        if timeout is None and self._core.recv(out, source, tag):
            return out
        return self._exchange(recv(self._group(), out, source, tag=tag, timeout=timeout))

    def sendrecv(self, x: Any, dest: int, out: Any, source: int, *, tag: int = 0, timeout: float | None = None) -> Any:
        """Send `x` to one rank while `out` is filled by another; return `out`.

        Parameters
        ----------
        x : array
        dest : int
            This rank itself only if `source` is, too: a copy.
        out : array
            Must not overlap `x`; dtype and size may differ from those of `x`.
        source : int
        tag : int, default 0
            Of both messages.
        timeout : float, optional

        Examples
        --------
        >>> comm.sendrecv(np.arange(3), 0, np.empty(3, int), 0)    # 1 rank
        array([0, 1, 2])
        """
        if timeout is None and self._core.sendrecv(x, dest, out, source, tag):
            return out
        return self._exchange(sendrecv(self._group(), x, dest, out, source, tag=tag, timeout=timeout))

    def send_async(self, x: Any, dest: int, *, tag: int = 0, timeout: float | None = None) -> Work:
        """Start a `send`; `x` belongs to the library until ``wait()`` has returned."""
        return self._exchange_async(send(self._group(), x, dest, tag=tag, timeout=timeout))

    def recv_async(self, out: Any, source: int, *, tag: int = 0, timeout: float | None = None) -> Work:
        """Start a `recv`; ``wait()`` returns `out`."""
        return self._exchange_async(recv(self._group(), out, source, tag=tag, timeout=timeout))

    def sendrecv_async(
        self, x: Any, dest: int, out: Any, source: int, *, tag: int = 0, timeout: float | None = None
    ) -> Work:
        """Start a `sendrecv`; ``wait()`` returns `out`."""
        return self._exchange_async(sendrecv(self._group(), x, dest, out, source, tag=tag, timeout=timeout))


def messages_of(calls: Sequence[Exchange]) -> list[Message]:
    """Return the messages of several calls, in their order.

    Raises
    ------
    ValueError
        If a rank sends to itself what it does not receive, or the reverse.
    """
    if sum(call.balance for call in calls) != 0:
        raise ValueError("a message of a rank to itself needs both of its ends: use sendrecv, or a group")
    return [message for call in calls for message in call.messages]
