"""A group of ranks and its collectives."""

from __future__ import annotations

import contextlib
import logging
import weakref
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np

from pyccl import _core, algorithms, config, membership
from pyccl.arrays import NumpyArray, dtype_of
from pyccl.bootstrap import Bootstrap, MpiBootstrap, world_bootstrap
from pyccl.calls import RESOLVERS, Resolved
from pyccl.checks import dimensions
from pyccl.collectives import COLLECTIVES
from pyccl.errors import CommError
from pyccl.explain import Explanation
from pyccl.group import Groups
from pyccl.in_flight import InFlight
from pyccl.observing import Observed, observe
from pyccl.ops import Op
from pyccl.schedule import verify
from pyccl.splitting import agree_to_split
from pyccl.tuning import Tuning

__all__ = ["Communicator", "init"]

log = logging.getLogger("pyccl")
_NAMES = tuple(COLLECTIVES)
_CACHE_BYTES = 32 << 20


class Communicator(Groups, Observed):
    """A group of ranks that call the same collectives in the same order, and send each other messages.

    Parameters
    ----------
    mpi_comm : mpi4py.MPI.Comm
        Which ranks; collective over it.
    timeout : float, optional
        Seconds that an operation waits for its peers; default: ``PYCCL_TIMEOUT``, else 300.

    Raises
    ------
    ConfigError
        If MPI is missing or does not fit its launcher, or an environment variable has a bad value.

    Notes
    -----
    Every argument error is raised on the rank that made it, and as `PeerAborted` on the others, at that operation;
    nothing is moved and the communicator stays usable. After `Timeout` or `PeerLost` it does not.
    """

    def __init__(self, mpi_comm: Any = None, *, timeout: float | None = None) -> None:
        settings = config.load()
        limit = settings.timeout if timeout is None else timeout
        source = world_bootstrap(limit) if mpi_comm is None else MpiBootstrap(mpi_comm, timeout=limit)
        self._start(source, settings, timeout)

    @classmethod
    def from_bootstrap(cls, bootstrap: Bootstrap, *, timeout: float | None = None) -> Communicator:
        """Return the communicator of the ranks behind any `pyccl.bootstrap.Bootstrap`. Collective."""
        self = cls.__new__(cls)
        self._start(bootstrap, config.load(), timeout)
        return self

    def _start(self, bootstrap: Bootstrap, settings: config.Settings, timeout: float | None) -> None:
        self._bootstrap = bootstrap
        self._settings = settings
        self._in_flight = InFlight() if settings.debug else None
        self._timeout = settings.timeout if timeout is None else timeout
        m = self._membership = membership.join(bootstrap, settings)
        several = len(set(m.nodes)) > 1
        self._core = _core.Communicator(
            rank=bootstrap.rank,
            size=bootstrap.size,
            nodes=list(m.nodes),
            timeout=self._timeout,
            cache_bytes=_CACHE_BYTES,
            segment=m.segment,
            node_ranks=list(m.node_ranks),
            pids=list(m.pids),
            crowded=m.crowded,
            spin=m.spin,
            yields=m.yields,
            remote=bootstrap.remote() if several else None,
            build=partial(_build, bootstrap.size, m.nodes),  # not a method: the core must not keep its owner alive
        )
        self.rank: int = bootstrap.rank
        self.size: int = bootstrap.size
        self.nodes: tuple[int, ...] = m.nodes
        self.node_rank: int = m.node_ranks.index(self.rank)
        self.node_size: int = len(m.node_ranks)
        self.tuning = Tuning.load(settings.tuning)
        for _, name in sorted(algorithms.known()):  # the same codes on every rank
            self._core.algorithm_index(name)
        self._choose()
        self._closed = False
        traces = observe(self._core, settings, m.identity, self.rank, self.size)
        self._close_at_exit = weakref.finalize(self, _close, self._core, *traces, bootstrap)

    def _choose(self) -> None:
        """Hand the thresholds to the core."""
        private = self.tuning.private(self.size, several_nodes=len(set(self.nodes)) > 1)
        for name, row in COLLECTIVES.items():
            for registered, table in ((False, private), (True, self.tuning.registered)):
                override = self._settings.algorithm.get(name)
                rows = ((2**62, override),) if override else table[name]
                codes = []
                for limit, algorithm in rows:
                    algorithms.get_algorithm(name, algorithm)
                    codes.append((limit, self._core.algorithm_index(algorithm)))
                self._core.set_choices(row.code, registered, codes)

    def algorithm_code(self, collective: str, name: str, op: Op | None, nbytes: int) -> int:
        """Return the core's number of an algorithm, -1 for "auto" where the table's choice will do."""
        if not isinstance(name, str):
            raise TypeError(f"algorithm must be a name, got {type(name).__name__}")
        ordered = op is not None and not op.commutative
        if name == "auto":
            if not ordered:
                return -1
            chosen = self._core.algorithm_name(self._core.choose(COLLECTIVES[collective].code, False, nbytes))
            keeps = [n for n in algorithms.algorithms(collective, self.size)
                     if not algorithms.get_algorithm(collective, n).commutative_only]  # fmt: skip
            return self._core.algorithm_index(chosen if chosen in keeps else keeps[0])
        entry = algorithms.get_algorithm(collective, name)
        if not entry.serves(self.size):
            raise ValueError(f"algorithm {name!r} of {collective} does not serve {self.size} ranks")
        if ordered and entry.commutative_only:
            raise ValueError(f"algorithm {name!r} needs a commutative operation, and {op.name!r} is not")  # type: ignore[union-attr]
        return self._core.algorithm_index(name)

    def _resolve(
        self, collective: str, args: tuple[Any, ...], options: dict[str, Any], announce: bool = True
    ) -> Resolved:
        self._check_open()
        try:
            call = RESOLVERS[collective](self, *args, **options)
            if self._in_flight is not None:
                self._in_flight.check(collective, call)
            return call
        except (TypeError, ValueError, ImportError) as error:
            if announce:
                self._refuse(error)
            raise

    def _refuse(self, error: Exception) -> None:
        """Let the peers know that this rank cannot take part in the operation that they have come to."""
        with contextlib.suppress(CommError):  # the peers did not come: the argument's own error says more
            self._core.refuse(f"{type(error).__name__}: {error}", -1.0)

    def _check_open(self) -> None:
        if self._closed:
            raise CommError("the communicator is closed")

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

    def split(self, color: int | None, key: int = 0) -> Communicator | None:
        """Return a new, independent communicator of the ranks that give the same color. Collective.

        Parameters
        ----------
        color : int or None
            Not negative; None to be in no new communicator.
        key : int, default 0
            Ranks are ordered by key, then by rank in this communicator.

        Raises
        ------
        TypeError, ValueError
            For a bad argument; on the other ranks `PeerAborted`.
        """
        self._check_open()
        color, key = agree_to_split(self._bootstrap, color, key)
        child = self._bootstrap.split(color, key)
        if child is None:
            return None
        comm = Communicator.__new__(Communicator)
        comm._start(child, self._settings, self._timeout)
        return comm

    def plan(self, collective: str, *args: Any, **options: Any) -> _core.Plan:
        """Resolve a call once and return a callable that runs it on the same arrays, as often as wanted.

        Parameters
        ----------
        collective : str
            Name of a collective method.
        *args, **options
            Its arguments.

        Examples
        --------
        >>> x = np.ones(4, np.float32)
        >>> step = comm.plan("all_reduce", x, out=x)
        >>> step() is x
        True
        """
        if collective not in RESOLVERS:
            raise ValueError(f"collective must be one of {', '.join(RESOLVERS)}, got {collective!r}")
        call = self._resolve(collective, args, options)
        return self._core.plan(call.arguments, call.result)

    def empty(self, shape: int | Sequence[int], dtype: Any = "float32") -> NumpyArray:
        """Return a registered array of zeros: it lies in memory that all ranks of the node have mapped.

        Collective: every rank asks for the same number of bytes. Operations on registered arrays move no copies
        through a staging area. The memory is returned when the array and all views of it are gone.
        """
        self._check_open()
        try:
            kind = dtype_of(dtype)
            dims = dimensions(shape)
            if any(n < 0 for n in dims):
                raise ValueError(f"shape must not be negative, got {dims}")
        except (TypeError, ValueError, ImportError) as error:
            self._refuse(error)
            raise
        nbytes = int(np.prod(dims, dtype=np.int64)) * kind.itemsize
        return self._core.allocate(kind, list(dims), nbytes, -1.0)

    def explain(self, collective: str, nbytes: int, dtype: Any = "float32") -> Explanation:
        """Return which algorithm and transport a call would take, and why; `nbytes` is of the large side."""
        return Explanation.of(self, collective, nbytes, dtype_of(dtype))

    def close(self) -> None:
        """Wait for what is queued and let go of memory and threads. May be repeated; later calls raise CommError."""
        if not self._closed:
            self._closed = True
            self._close_at_exit()

    def __enter__(self) -> Communicator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<pyccl.Communicator rank {self.rank} of {self.size}, node of {self.node_size}>"


def _build(size: int, nodes: tuple[int, ...], code: int, name: str, root: int) -> tuple[int, Sequence[NumpyArray]]:
    """Called by the core for an algorithm that it has not compiled yet."""
    collective = _NAMES[code]
    schedule = algorithms.build(collective, name, size, root=max(root, 0), nodes=nodes)
    if not algorithms.get_algorithm(collective, name).function.__module__.startswith("pyccl.algorithms"):
        verify(schedule)
    return schedule.nchunks, schedule.tables


def _close(*parts: Any) -> None:
    for part in parts:
        part.close()


_world: list[weakref.ref[Communicator]] = []


def init(*, timeout: float | None = None) -> Communicator:
    """Return the communicator of all ranks that the launcher has started; the same one until it is closed.

    Parameters
    ----------
    timeout : float, optional
        Seconds that an operation waits for its peers; default: ``PYCCL_TIMEOUT``, else 300.

    Examples
    --------
    >>> with pyccl.init() as comm:    # doctest: +SKIP
    ...     total = comm.all_reduce(np.ones(4))
    """
    existing = _world[0]() if _world else None
    if existing is not None and not existing._closed:
        return existing
    comm = Communicator(timeout=timeout)
    _world[:] = [weakref.ref(comm)]
    return comm
