"""A trace on a cluster: what other tools have recorded, in virtual time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from pyccl import _core
from pyccl.algorithms import known
from pyccl.errors import ConfigError
from pyccl.sim.case import Ints
from pyccl.sim.cluster import Cluster
from pyccl.sim.formats.load import load
from pyccl.sim.loggp import LogGP
from pyccl.sim.quantity import Quantity, nbytes, parse
from pyccl.sim.replay_calls import Calls, merged, message_pairs
from pyccl.sim.replay_result import ReplayResult, describe
from pyccl.sim.trace import Array, Columns, Trace

MOST_EVENTS = 2_000_000_000
MOST_SPANS = 1 << 24
NODE_BYTES, SPAN_BYTES, RANK_BYTES = 5, 24, 256  # of the engine's state


def replay(
    trace: Trace | str | Path,
    cluster: Cluster | None = None,
    *,
    rank_of: ArrayLike | None = None,
    algorithm: Mapping[str, str] | str | None = None,
    gamma: Quantity = 0.0,
    loggp: LogGP | None = None,
    measured: bool = False,
    spans: bool | None = None,
    most_events: int = MOST_EVENTS,
    most_memory: Quantity = "4 GiB",
    replicate: int | None = None,
    ranks: int | None = None,
) -> ReplayResult:
    """Run a trace in virtual time, its messages and those of its collectives on one network.

    A computing node takes its duration, one at a time on each lane; a message its bytes over the rate that max-min
    fairness gives it, and the latency of its links; a collective runs the runtime's own schedule among the members
    of its group, and begins for each rank when it comes to it.

    Parameters
    ----------
    trace : Trace, str or Path
        A path is read by `pyccl.sim.formats.load.load`.
    cluster : Cluster
        May be left out with `loggp`.
    rank_of : array of int, shape (ranks,), optional
        Device of each rank of the trace; default: rank r on device r.
    algorithm : str or mapping of collective to str, optional
        A name is taken by every collective that has it for its number of ranks. Default: what the runtime chooses
        for the size, from the table that ships.
    gamma : float or str, default 0
        Seconds per byte combined.
    loggp : LogGP, optional
        What messages cost instead of a network.
    measured : bool, default False
        Whether messages and collectives that the trace gives a duration take it: a collective once all have come.
    spans : bool, optional
        Whether to keep begin, end and cause of every node, 24 bytes each, for `to_perfetto` and `critical_path`.
        Default: up to 2**24 nodes.
    most_events : int, default 2e9
        Give up beyond so many, and rates of messages that had to be found; 0 is no limit.
    most_memory : int or str, default "4 GiB"
        Of nodes, and of messages and collectives under way; give up beyond; 0 is no limit.
    replicate : int, optional
        Run on so many ranks, a multiple of the trace's: see `Trace.replicate`.
    ranks : int, optional
        How many ranks the trace has to tell of. The files of the last ones can be missing without a sign.

    Returns
    -------
    ReplayResult

    Raises
    ------
    ConfigError
        If the trace cannot run to its end (ranks and nodes are named), does not fit the cluster, or is over a budget.

    Examples
    --------
    >>> from pyccl.sim import Cluster, LogGP, replay
    >>> from pyccl.sim.recorder import Recorder
    >>> from pyccl.sim.trace import Kind, Trace
    >>> here, there = Recorder(), Recorder()
    >>> _ = here.add(Kind.SEND, nbytes=65536, peer=1), there.add(Kind.RECV, nbytes=65536, peer=0)
    >>> pair = Trace((here.finish(), there.finish()), 2)
    >>> print(replay(pair, Cluster.switch(hosts=2, nic="10 GB/s", latency="1 us")))
    trace on 2 ranks: 8.5536 us, 1 messages; of the mean rank 0 % compute, 100 % exposed communication, 0 % idle
    >>> round(replay(pair, loggp=LogGP(L="1.5 us", o="0.4 us", g="0.9 us", G="0.08 ns")).time * 1e6, 9)
    7.5428
    """
    trace = load(trace) if isinstance(trace, (str, Path)) else trace
    if ranks is not None and trace.size != ranks:
        lacking = f"the files of ranks {trace.size} to {ranks - 1} are missing" if trace.size < ranks else "not fewer"
        raise ConfigError(f"{trace.source}: tells of {trace.size} ranks, not {ranks}: {lacking}")
    if replicate is not None:
        trace = trace.replicate(replicate)
    _check_algorithm(algorithm)
    keep = len(trace) <= MOST_SPANS if spans is None else spans
    memory = _check_memory(trace, keep, nbytes(most_memory, "most_memory"))
    devices = _devices(trace, cluster, rank_of, loggp)
    hosts = cluster.host_of[devices] if cluster is not None else np.arange(trace.size)
    try:
        calls = Calls(trace, hosts, algorithm, parse(gamma, "time", "gamma"))
        fabric = _no_ways(trace.size) if loggp or cluster is None else _ways(trace, cluster, devices, calls)
        found = _core.sim_replay(
            [_Given.of(c, kinds) for c, kinds in zip(trace.columns, calls.columns, strict=True)],
            [(g.size, g.stride, sorted(g.ranks)) for g in trace.groups],
            trace.size, (*fabric.ways, *fabric.links),
            [(play, sizes.tolist(), combine) for play, sizes, combine in calls.calls],
            calls.classes.tolist(), max(1, len(calls.shapes)), calls.table.reshape(-1).tolist(), len(calls.kinds),
            loggp.parameters() if loggp else [], measured, keep, most_events, memory,
        )  # fmt: skip
    except ConfigError:
        raise
    except (ValueError, OverflowError) as error:
        trace.topological_check()  # says it better, where it is the trace's own fault
        raise ConfigError(f"{trace.source}: {error}") from None
    if found["stuck"]:
        trace.topological_check()
        waiting = "; ".join(describe(trace, rank, node) for rank, node in found["stuck"])
        raise ConfigError(f"{trace.source}: deadlock: these wait for ever: {waiting}")
    return ReplayResult(
        trace, None if loggp else cluster, float(found["finish"].max(initial=0.0)), found["finish"], found["compute"],
        found["communication"], found["messages"], found["events"], found["begin"] if keep else None,
        found["end"] if keep else None, found["before"] if keep else None, fabric.counts(found["way_bytes"]),
    )  # fmt: skip


def _check_memory(trace: Trace, spans: bool, most: int) -> int:
    """Return what is left for collectives; 0 is no limit."""
    needed = len(trace) * (NODE_BYTES + SPAN_BYTES * spans) + trace.size * RANK_BYTES
    if most and needed >= most:
        less = "; spans=False needs less" if spans else ""
        raise ConfigError(f"{trace.source}: {len(trace)} nodes need {needed} bytes, most_memory is {most}{less}")
    return most and most - needed


def _check_algorithm(algorithm: Mapping[str, str] | str | None) -> None:
    if isinstance(algorithm, str) and algorithm not in (names := {name for _, name in known()}):
        raise ConfigError(f"algorithm must be one of {', '.join(sorted(names))}, got {algorithm!r}")


def _devices(trace: Trace, cluster: Cluster | None, rank_of: ArrayLike | None, loggp: LogGP | None) -> Ints:
    if cluster is None:
        if loggp is None:
            raise ConfigError("a replay needs a cluster, or loggp=LogGP(…)")
        if rank_of is not None:
            raise ConfigError("rank_of names devices of a cluster, and there is none")
        return np.arange(trace.size)
    if rank_of is None:
        if trace.size > cluster.size:
            raise ConfigError(
                f"{trace.source} has {trace.size} ranks, and the cluster {cluster.size} devices; "
                "give a larger cluster, or rank_of"
            )
        return np.arange(trace.size)
    devices = np.asarray(rank_of)
    fits = devices.shape == (trace.size,) and np.issubdtype(devices.dtype, np.integer)
    if not fits or devices.min() < 0 or devices.max() >= cluster.size:
        raise ConfigError(f"rank_of must be {trace.size} devices from 0 to {cluster.size - 1}, got {rank_of!r:.100}")
    return devices.astype(np.int64)


@dataclass(frozen=True)
class _Fabric:
    """The ways between ranks: by source, destinations ascending; and the links of each."""

    ways: tuple[Array, Array]  # first way of each source; destination of each way
    links: tuple[Array, Array, Array, Array]  # ends, links, latency, bandwidth

    def counts(self, way_bytes: Array) -> Array:
        """Return the bytes of each link."""
        ends, links, _, bandwidth = self.links
        each = np.repeat(way_bytes, np.diff(ends, prepend=0))
        return np.bincount(links, weights=each, minlength=len(bandwidth)).astype(np.float64)


def _no_ways(size: int) -> _Fabric:
    nothing, none = np.zeros(0, np.int64), np.zeros(0)
    return _Fabric((np.zeros(size + 1, np.int64), nothing), (nothing, nothing, none, none))


def _ways(trace: Trace, cluster: Cluster, devices: Ints, calls: Calls) -> _Fabric:
    pairs = merged([*message_pairs(trace), *calls.pairs()])
    source, destination = np.divmod(pairs, trace.size)
    first = np.searchsorted(source, np.arange(trace.size + 1))
    ends, links = cluster.routes(devices[source], devices[destination])
    return _Fabric((first, destination), (ends, links, cluster.latency, cluster.bandwidth))


@dataclass(frozen=True)
class _Given:
    """A rank's columns as the engine takes them: contiguous, or one value that stands for all."""

    kind: Array
    nbytes: Array
    peer: Array
    tag: Array
    duration: Array
    group: Array
    lane: Array
    call: Array
    starts: Array
    deps: Array
    begun: Array

    @classmethod
    def of(cls, columns: Columns, call: Array) -> _Given:
        dtypes = {
            "kind": np.uint8, "nbytes": np.int64, "peer": np.int32, "tag": np.int32, "duration": np.float64,
            "group": np.int32, "lane": np.int32, "starts": np.int64, "deps": np.int32,
        }  # fmt: skip
        given = {name: _plain(getattr(columns, name), dtype) for name, dtype in dtypes.items()}
        begun = _plain(columns.begun, np.bool_)
        return cls(**given, call=_plain(call, np.int32), begun=begun.view(np.uint8))


def _plain(values: Array, dtype: type) -> Array:
    one_value = values.dtype == dtype and values.strides == (0,)
    return values if one_value else np.ascontiguousarray(values, dtype)
