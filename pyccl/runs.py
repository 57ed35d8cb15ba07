"""How a communicator runs a call: arguments resolved, errors told to the peers, then handed to the core."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from pyccl.arrays import NumpyArray
from pyccl.calls import RESOLVERS, Resolved, exchange
from pyccl.errors import CommError
from pyccl.group import Groups

__all__ = ["Runs"]


class Runs(Groups):
    """The part of a communicator that runs collectives."""

    def _run(self, collective: str, *args: Any, **options: Any) -> Any:
        if self._recording is not None:
            return self._recording._run(collective, *args, **options)
        call = self._resolve(collective, args, options)
        self._core.run(call.arguments)
        return call.result

    def _submit(self, collective: str, *args: Any, **options: Any) -> Any:
        if self._recording is not None:
            return self._recording._submit(collective)
        call = self._resolve(collective, args, options)
        if self._in_flight is not None:
            return self._in_flight.submit(self._core, collective, call)
        return self._core.submit(call.arguments, call.result)

    def _gather_for(self, purpose: str, x: NumpyArray) -> NumpyArray:
        """Return every rank's `x`, gathered as a part of the method `purpose`."""
        if self._recording is not None:
            raise ValueError(f"{purpose} cannot be part of a group")
        call = exchange(self._group(), x, purpose)
        self._core.run(call.arguments)
        result: NumpyArray = call.result
        return result

    def _resolve(
        self, collective: str, args: tuple[Any, ...], options: dict[str, Any], announce: bool = True
    ) -> Resolved:
        self._check_open()
        with self._refusing() if announce else contextlib.nullcontext():
            if collective not in RESOLVERS:
                raise ValueError(f"collective must be one of {', '.join(RESOLVERS)}, got {collective!r}")
            call = RESOLVERS[collective](self._group(), *args, **options)
            if self._in_flight is not None:
                self._in_flight.check(collective, call)
            return call

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """Tell the peers of any error inside, whatever it is: they would wait for this rank."""
        try:
            yield
        except Exception as error:
            self._refuse(error)
            raise

    def _refuse(self, error: Exception) -> None:
        """Let the peers know that this rank cannot take part in the operation that they have come to."""
        with contextlib.suppress(CommError):  # the peers did not come: the argument's own error says more
            self._core.refuse(f"{type(error).__name__}: {error}", -1.0)

    def _refuse_call(self, error: Exception) -> None:
        if self._recording is not None:
            self._recording._refuse_call(error)
        elif not self._closed:
            self._refuse(error)
