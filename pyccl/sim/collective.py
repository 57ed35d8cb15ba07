"""One collective on a cluster, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyccl.algorithms import get_algorithm
from pyccl.cost import Hockney
from pyccl.errors import ConfigError
from pyccl.sim.case import Case, Floats, Traffic
from pyccl.sim.cluster import Cluster
from pyccl.sim.levels import hierarchical, hierarchical_traffic, ring_over_edges
from pyccl.sim.payload import carry, payload_counts
from pyccl.sim.quantity import Quantity, parse
from pyccl.sim.quantity import nbytes as whole_bytes
from pyccl.sim.result import CollectiveResult
from pyccl.sim.static import closed_form, ring_finish

FIDELITIES = ("auto", "static", "events")


def simulate_collective(
    cluster: Cluster,
    collective: str,
    nbytes: Quantity | None = None,
    *,
    algorithm: str,
    fidelity: str = "auto",
    root: int = 0,
    starts: ArrayLike | None = None,
    gamma: Quantity = 0.0,
    payload: Sequence[NDArray[Any]] | None = None,
    op: str = "sum",
    most_events: int = 0,
) -> CollectiveResult:
    """Run a collective's own schedule on a modelled cluster, every device one rank.

    A rank sends one message at a time, in program order, and receives one at a time; a message begins when both ends
    are ready and takes the latency of its links and its bytes over their rate, which max-min fairness shares.

    Parameters
    ----------
    cluster : Cluster
    collective, algorithm : str
        As in `pyccl.algorithms.algorithms`.
    nbytes : int or str
        Bytes of the large side, for example "64 MiB"; with a payload its own.
    fidelity : {"auto", "static", "events"}
        "static" is a formula or recurrence, where one is exact; "events" every message; "auto" the first that
        applies.
    root : int, default 0
    starts : array of float, shape (size,), optional
        Seconds at which each rank begins; default: all at 0.
    gamma : float or str, default 0
        Seconds per byte combined.
    payload : sequence of arrays, one per rank, shape (n,), optional
        Each rank's input; `CollectiveResult.outputs` are then the results, with the bits that the runtime's have.
    op : str, default "sum"
        Of the payload.
    most_events : int, default 0
        Give up beyond so many; 0 is no limit.

    Returns
    -------
    CollectiveResult

    Raises
    ------
    ConfigError
        If a quantity is wrong, "static" does not apply, ranks wait for each other, or there are too many events.
    ValueError
        If a name is unknown, or an argument is out of range.

    Examples
    --------
    >>> from pyccl.sim import Cluster, simulate_collective
    >>> cluster = Cluster.switch(hosts=1024, nic="12.5 GB/s", latency="1 us")
    >>> result = simulate_collective(cluster, "all_reduce", "64 MiB", algorithm="ring")
    >>> round(result.time * 1e3, 6), result.fidelity, result.method
    (14.818932, 'static', 'closed form')
    """
    entry = get_algorithm(collective, algorithm)
    if fidelity not in FIDELITIES:
        raise ValueError(f"fidelity must be one of {', '.join(FIDELITIES)}, got {fidelity!r}")
    if not entry.serves(cluster.size):
        raise ValueError(f"{collective} {algorithm} does not serve {cluster.size} ranks")
    if not 0 <= root < cluster.size:
        raise ValueError(f"root must be in [0, {cluster.size}), got {root}")
    begin = _starts(starts, cluster.size)
    per_byte = parse(gamma, "time", "gamma")
    case = Case(cluster, collective, algorithm, _bytes(collective, nbytes, payload), root, begin, per_byte, None)
    outputs = None
    if payload is not None:
        case = _with_payload(case, payload)
        outputs = carry(cluster, collective, algorithm, payload, op, root)
    found = _static(case) if fidelity != "events" else None
    if found is not None:
        finish, method, traffic = found
        messages = 0
    elif fidelity == "static":
        raise ConfigError(
            f"no static answer for {collective} {algorithm} on this {cluster.topology} with these starts and sizes: "
            f"write fidelity='events' or 'auto'"
        )
    else:
        finish, moved, messages = _events(case, most_events)
        method, traffic = "events", lambda: (*case.pairs(), moved)
    return CollectiveResult(
        cluster, collective, algorithm, case.nbytes, float(finish.max() - begin.min()), finish,
        "events" if method == "events" else "static", method, messages, outputs, traffic,
    )  # fmt: skip


def _starts(starts: ArrayLike | None, size: int) -> Floats:
    """Return one entry per rank, or one for all."""
    if starts is None:
        return np.zeros(1)
    given = np.asarray(starts, dtype=float)
    if given.shape != (size,) or not np.isfinite(given).all() or (given < 0).any():
        raise ValueError(f"starts must be {size} finite times of at least 0, got shape {given.shape}")
    return given[:1] if (given == given[0]).all() else given


def _bytes(collective: str, nbytes: Quantity | None, payload: Sequence[NDArray[Any]] | None) -> int:
    if collective == "barrier" or (nbytes is None and payload is not None):
        return 0
    if nbytes is None:
        raise ValueError("nbytes must be given where there is no payload")
    return whole_bytes(nbytes)


def _with_payload(case: Case, payload: Sequence[NDArray[Any]]) -> Case:
    size, item = case.cluster.size, payload[0].itemsize if len(payload) else 1
    counts = payload_counts(case.collective, payload, size, case.root, case.nchunks)
    sizes = tuple(count * item for count in counts)
    large = sum(sizes) // (size if case.collective == "all_to_all" else 1)
    if case.nbytes not in (0, large):
        raise ValueError(f"the payload has {large} bytes, nbytes says {case.nbytes}; leave nbytes out")
    return Case(case.cluster, case.collective, case.algorithm, large, case.root, case.starts, case.gamma, sizes)


def _static(case: Case) -> tuple[Floats, str, Callable[[], Traffic]] | None:
    """Return the ranks' ends, the method and the traffic, or None where every message must be looked at."""
    if case.sizes is not None:
        return None
    if case.cluster.uniform is not None:
        found = _uniform(case)
        return None if found is None else (*found, case.traffic)
    if (finish := ring_over_edges(case)) is not None:
        return finish, "recurrence", case.traffic
    if (finish := hierarchical(case)) is not None:
        return finish, "recurrence", lambda: hierarchical_traffic(case)
    return None


def _uniform(case: Case) -> tuple[Floats, str] | None:
    """Return the ranks' ends and the method on a network that nobody shares."""
    assert case.cluster.uniform is not None
    size, (latency, rate) = case.cluster.size, case.cluster.uniform
    network = Hockney(latency, 1 / rate, case.gamma)
    together = len(case.starts) == 1
    if case.nbytes % size == 0:
        seconds = closed_form(case.collective, case.algorithm, size, case.nbytes, network)
        if seconds is not None and together:
            return np.full(size, case.starts[0] + seconds), "closed form"
        if seconds is not None and case.algorithm == "ring" and case.gamma == 0 and size > 1:
            # Everybody's start reaches everybody within the steps of a ring.
            return np.full(size, case.starts.max() + seconds), "recurrence"
    elif case.algorithm == "ring" and together:
        finish = ring_finish(case.collective, size, case.nbytes, network)
        if finish is not None:
            return case.starts[0] + finish, "recurrence"
    if case.equal:
        finish, _, _ = case.run(folded=True, most_events=0)
        return np.full(size, finish[0]), "folded ranks"
    return None


def _events(case: Case, most_events: int) -> tuple[Floats, NDArray[np.float64], int]:
    try:
        return case.run(folded=False, most_events=most_events)
    except ValueError as error:
        raise ConfigError(f"{case.collective} {case.algorithm} on {case.cluster.size} ranks: {error}") from None
