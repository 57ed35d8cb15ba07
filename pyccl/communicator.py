"""A group of ranks and its collectives."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from pyccl import _core, algorithms, farewell, membership
from pyccl.arrays import dtype_of, resolve
from pyccl.bootstrap import Bootstrap, MpiBootstrap, world_bootstrap
from pyccl.checks import seconds, split_arguments
from pyccl.choice import algorithm_code, hand_thresholds
from pyccl.ending import Ending, note_all_losses
from pyccl.errors import CommError
from pyccl.explain import Explanation
from pyccl.in_flight import InFlight
from pyccl.links import connect, neighbours
from pyccl.methods import announced
from pyccl.observing import Observed, observe
from pyccl.opening import Opening
from pyccl.ops import Op
from pyccl.programs import build_program
from pyccl.registration import RegisteredMemory, Registrations
from pyccl.same import compare, digests
from pyccl.shared_bootstrap import SharedBootstrap
from pyccl.splitting import Members, part, split_through
from pyccl.survivors import Regroup, regroup_mpi
from pyccl.tracing import TraceFile
from pyccl.tuning import Tuning

__all__ = ["Communicator"]

log = logging.getLogger("pyccl")


class Communicator(Ending, RegisteredMemory, Observed):
    """A group of ranks that call the same collectives in the same order, and send each other messages.

    Parameters
    ----------
    mpi_comm : mpi4py.MPI.Comm
        Which ranks; collective over it.
    timeout : float, optional
        Seconds that an operation waits for its peers; default: ``PYCCL_TIMEOUT``, else 300.
    deterministic : bool, default False
        Take only algorithms that combine all contributions in one pass in rank order: the same bits whatever the
        array's size, how it is divided into calls, the algorithm, the transport and the run. Equal on all ranks.

    Raises
    ------
    ConfigError
        If MPI is missing or does not fit its launcher, or an environment variable has a bad value.

    Notes
    -----
    Every argument error is raised on the rank that made it, and as `PeerAborted` on the others, at that operation;
    nothing is moved and the communicator stays usable. After `Timeout`, `PeerLost` or a `PeerAborted` with its flag
    `broken` it does not.
    """

    def __init__(self, mpi_comm: Any = None, *, timeout: float | None = None, deterministic: bool = False) -> None:
        opening = Opening.read(timeout, deterministic)
        limit = opening.timeout
        note_all_losses()
        source = world_bootstrap(limit) if mpi_comm is None else MpiBootstrap(mpi_comm, timeout=limit)
        opening.agree(source)
        self._start(source, opening)

    @classmethod
    def from_bootstrap(
        cls, bootstrap: Bootstrap, *, timeout: float | None = None, deterministic: bool = False
    ) -> Communicator:
        """Return the communicator of the ranks behind any `pyccl.bootstrap.Bootstrap`. Collective."""
        opening = Opening.read(timeout, deterministic)
        opening.agree(bootstrap)
        self = cls.__new__(cls)
        self._start(bootstrap, opening)
        return self

    def _start(self, bootstrap: Bootstrap, opening: Opening) -> None:
        settings = opening.settings
        self._opening = opening
        self._bootstrap = bootstrap
        self._in_flight = InFlight() if settings.debug else None
        self._timeout = opening.timeout
        m = self._membership = membership.join(bootstrap, settings)
        several = len(set(m.nodes)) > 1
        self._core = _core.Communicator(
            rank=bootstrap.rank,
            size=bootstrap.size,
            nodes=list(m.nodes),
            timeout=self._timeout,
            segment=m.segment,
            node_ranks=list(m.node_ranks),
            pids=list(m.pids),
            crowded=m.crowded,
            spin=m.spin,
            yields=m.yields,
            remote=bootstrap.remote() if several else None,
            # not a method: the core must not keep its owner alive
            build=partial(build_program, bootstrap.size, m.nodes, m.links),
            links=connect(bootstrap, neighbours(bootstrap.rank, m.nodes)) if several else [],
        )
        self._rank, self._size = bootstrap.rank, bootstrap.size
        for _, name in sorted(algorithms.known()):  # the same codes on every rank
            self._core.algorithm_index(name)
        hand_thresholds(self._core, self.tuning, settings.algorithm, m.nodes, deterministic=self.deterministic)
        self._registrations = Registrations(self._core)
        self._regroup = None if several else Regroup(m.notes, self.rank, self.size, self._core.gone, self._timeout)
        self._shrunk = False
        if isinstance(bootstrap, Members):
            bootstrap = bootstrap.lasting()
        if isinstance(bootstrap, (MpiBootstrap, SharedBootstrap)):
            bootstrap.on_wait = self._core.look  # a death ends these waits, too
        if isinstance(bootstrap, MpiBootstrap) and bootstrap.everybody:
            farewell.expect(bootstrap.mpi, m.pids, self._timeout)
        traces = observe(self._core, settings, m.identity, self.rank, self.size)
        self._begin(self._core, bootstrap, partial(_forget, self._registrations, traces), m.launched)

    @property
    def rank(self) -> int:
        """This process, from 0 to `size` - 1."""
        return self._rank

    @property
    def size(self) -> int:
        """How many ranks there are."""
        return self._size

    @property
    def nodes(self) -> tuple[int, ...]:
        """The node of every rank; nodes are numbered by their lowest rank."""
        return self._membership.nodes

    @property
    def node_rank(self) -> int:
        """This process among those of its node."""
        return self._membership.node_ranks.index(self._rank)

    @property
    def node_size(self) -> int:
        """How many ranks this node has."""
        return len(self._membership.node_ranks)

    @property
    def tuning(self) -> Tuning:
        """Which algorithm serves which size."""
        return self._opening.tuning

    @property
    def deterministic(self) -> bool:
        """Whether all contributions are combined in rank order."""
        return self._opening.deterministic

    def _algorithm_code(self, collective: str, name: str, op: Op | None, nbytes: int, ordered: bool) -> int:
        ordered = (ordered or self.deterministic) and op is not None
        return algorithm_code(self._core, self.size, collective, name, op, nbytes, ordered=ordered)

    @announced
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
        MismatchError
            On every rank, if another rank calls something else.
        """
        self._check_open()
        with self._refusing():
            color, key = split_arguments(color, key)
        self._core.agree_to_split(-1.0)
        ranks = part(self, color, key)
        try:
            mpi = None if self._regroup is not None else self._bootstrap.split(color, key)
        except BaseException as error:
            self._core.abort(f"split: {type(error).__name__}: {error}")  # others may be past it; a known reason stays
            raise
        return split_through(Members(self, ranks, mpi), self._rebuild, Communicator.close, self._core)

    def shrink(self, timeout: float | None = None) -> Communicator:
        """Return a new communicator of the ranks that are left. Collective among those; this one stays broken.

        Ranks that have died or closed this communicator are left out; the others keep their order. A rank that dies
        during the call is left out, too. Arrays registered with this communicator are plain ones for the new one.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait for the others; default: the communicator's.

        Raises
        ------
        CommError
            If this communicator is not broken (``split(0)`` copies a good one), has been shrunk already, or has ranks
            of several nodes and MPI cannot go on after a death.
        Timeout
            If a rank that lives has not called it; it may be called again.
        """
        self._check_open()
        limit = self._timeout if timeout is None else seconds(timeout)
        with suppress(CommError):
            self._core.look()  # a death that no operation has met yet
        if not self._core.broken():
            raise CommError("shrink: the communicator is not broken; split(0) makes a copy of it")
        if self._shrunk:
            raise CommError("shrink: there is a new communicator already; shrink that one")
        if self._regroup is not None:
            comm = self._regroup.run(self._rebuild, Communicator.close, limit)
        else:
            comm = regroup_mpi(self._bootstrap, self._rebuild, Communicator.close, limit, self._opening.settings)
        self._shrunk = True
        return comm

    def _rebuild(self, bootstrap: Bootstrap) -> Communicator:
        comm = Communicator.__new__(Communicator)
        comm._start(bootstrap, self._opening)
        return comm

    @announced
    def plan(self, collective: str, *args: Any, **options: Any) -> _core.Plan:
        """Resolve a call once and return a callable that runs it on the same arrays, as often as wanted.

        Parameters
        ----------
        collective : str
            Of the blocking method: all_reduce, reduce_scatter, all_gather, broadcast, reduce, gather, scatter,
            all_to_all or barrier.
        *args, **options
            Its arguments.

        Returns
        -------
        Plan
            Calling it, without arguments, is the collective; making it is not, and moves nothing.

        Examples
        --------
        >>> x = np.ones(4, np.float32)
        >>> step = comm.plan("all_reduce", x, out=x)
        >>> step() is x
        True
        """
        call = self._resolve(collective, args, options)
        return self._core.plan(call.arguments, call.result)

    def explain(self, collective: str, nbytes: int, dtype: Any = "float32") -> Explanation:
        """Return which algorithm and transport a call would take, and why; `nbytes` is of the large side."""
        return Explanation.of(self, collective, nbytes, dtype_of(dtype))

    @announced
    def check_same(self, x: Any) -> None:
        """Compare an array over all ranks, bit by bit; return if it is the same everywhere. Collective.

        Parameters
        ----------
        x : array
            Anything that the collectives take; a hash of it is compared, at the cost of reading it once.

        Raises
        ------
        MismatchError
            On every rank, naming those that differ from most others and where the first difference is.
        """
        self._check_open()
        with self._refusing():
            mine = digests(resolve(x, "x"))
        compare(self._gather_for("check_same", mine).reshape(self.size, -1))

    def __repr__(self) -> str:
        return f"<pyccl.Communicator rank {self.rank} of {self.size}, node of {self.node_size}>"


def _forget(registrations: Registrations, traces: Sequence[TraceFile]) -> None:
    registrations.forget()
    for trace in traces:
        trace.close()
