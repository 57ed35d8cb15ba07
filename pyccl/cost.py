"""What an algorithm costs: closed forms in alpha, beta, gamma, and the bytes that a schedule really sends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pyccl.schedule import Kind, Schedule


@dataclass(frozen=True)
class Hockney:
    """A network on which every rank sends one message and receives one at a time.

    Attributes
    ----------
    alpha : float
        Seconds per message.
    beta : float
        Seconds per byte sent.
    gamma : float
        Seconds per byte combined.

    References
    ----------
    .. [1] R. W. Hockney, "The communication challenge for MPP: Intel Paragon and Meiko CS-2", Parallel Comput. 20
       (1994), doi:10.1016/S0167-8191(06)80021-9
    """

    alpha: float
    beta: float
    gamma: float = 0.0


@dataclass(frozen=True)
class Term:
    """A coefficient as a function of the number of ranks p, and as it is written."""

    text: str
    of: Callable[[int], float]


@dataclass(frozen=True)
class Cost:
    """Closed form ``messages(p) alpha + sent(p) n beta + combined(p) n gamma`` of the critical path.

    n is the bytes of the collective's large side, split evenly. A direct algorithm's messages are counted one after
    the other, as a network port carries them; on shared memory they are one round.
    """

    messages: Term
    sent: Term
    combined: Term

    def time(self, size: int, nbytes: float, network: Hockney) -> float:
        """Return the predicted time in seconds for `size` ranks and `nbytes` bytes of the large side."""
        return (
            self.messages.of(size) * network.alpha
            + self.sent.of(size) * nbytes * network.beta
            + self.combined.of(size) * nbytes * network.gamma
        )

    def __str__(self) -> str:
        terms = ((self.messages, "α"), (self.sent, "nβ"), (self.combined, "nγ"))
        return " + ".join(f"{term.text}·{unit}" for term, unit in terms if term is not NONE)


def _floor_log(p: int) -> int:
    return p.bit_length() - 1


def _ceil_log(p: int) -> int:
    return (p - 1).bit_length()


def _folds(p: int) -> bool:
    return p & (p - 1) != 0


def _halves(p: int) -> float:
    """Return q-1 over q for q the largest power of two up to p."""
    return 1 - 1 / (1 << _floor_log(p))


def _bruck_share(p: int) -> float:
    """Return the set bits of all numbers below p, over p: how often a chunk travels on average."""
    return sum(o.bit_count() for o in range(p)) / p


NONE = Term("0", lambda p: 0)
OTHERS = Term("(p-1)", lambda p: p - 1)
TWICE_OTHERS = Term("2(p-1)", lambda p: 2 * (p - 1))
SHARE = Term("(p-1)/p", lambda p: (p - 1) / p)
TWICE_SHARE = Term("2(p-1)/p", lambda p: 2 * (p - 1) / p)
LOG = Term("⌈log₂p⌉", _ceil_log)
TWICE_LOG = Term("2⌈log₂p⌉", lambda p: 2 * _ceil_log(p))
LOG_OTHERS = Term("(⌈log₂p⌉+p-1)", lambda p: _ceil_log(p) + p - 1 if p > 1 else 0)
BRUCK = Term("Σₒ bits(o)/p", _bruck_share)
DOUBLING = Term("(log₂q+2[p≠q])", lambda p: _floor_log(p) + 2 * _folds(p))
DOUBLING_COMBINED = Term("(log₂q+[p≠q])", lambda p: _floor_log(p) + _folds(p))
HALVING = Term("(2log₂q+2[p≠q])", lambda p: 2 * _floor_log(p) + 2 * _folds(p))
HALVING_SENT = Term("(2(q-1)/q+2[p≠q])", lambda p: 2 * _halves(p) + 2 * _folds(p))
HALVING_COMBINED = Term("((q-1)/q+[p≠q])", lambda p: _halves(p) + _folds(p))

COSTS = MappingProxyType(
    {
        ("all_reduce", "ring"): Cost(TWICE_OTHERS, TWICE_SHARE, SHARE),
        ("all_reduce", "recursive_doubling"): Cost(DOUBLING, DOUBLING, DOUBLING_COMBINED),
        ("all_reduce", "rabenseifner"): Cost(HALVING, HALVING_SENT, HALVING_COMBINED),
        ("all_reduce", "tree"): Cost(TWICE_LOG, TWICE_LOG, LOG),
        ("all_reduce", "one_shot"): Cost(OTHERS, OTHERS, OTHERS),
        ("all_reduce", "two_shot"): Cost(TWICE_OTHERS, TWICE_SHARE, SHARE),
        ("reduce_scatter", "ring"): Cost(OTHERS, SHARE, SHARE),
        ("reduce_scatter", "direct"): Cost(OTHERS, SHARE, SHARE),
        ("reduce_scatter", "pairwise"): Cost(OTHERS, SHARE, SHARE),
        ("reduce_scatter", "recursive_halving"): Cost(LOG, SHARE, SHARE),
        ("all_gather", "ring"): Cost(OTHERS, SHARE, NONE),
        ("all_gather", "direct"): Cost(OTHERS, SHARE, NONE),
        ("all_gather", "recursive_doubling"): Cost(LOG, SHARE, NONE),
        ("all_gather", "bruck"): Cost(LOG, SHARE, NONE),
        ("broadcast", "direct"): Cost(OTHERS, OTHERS, NONE),
        ("broadcast", "binomial"): Cost(LOG, LOG, NONE),
        ("broadcast", "scatter_all_gather"): Cost(LOG_OTHERS, TWICE_SHARE, NONE),
        ("reduce", "direct"): Cost(OTHERS, OTHERS, OTHERS),
        ("reduce", "scatter_reduce"): Cost(TWICE_OTHERS, TWICE_SHARE, SHARE),
        ("reduce", "binomial"): Cost(LOG, LOG, LOG),
        ("gather", "direct"): Cost(OTHERS, SHARE, NONE),
        ("gather", "binomial"): Cost(LOG, SHARE, NONE),
        ("scatter", "direct"): Cost(OTHERS, SHARE, NONE),
        ("scatter", "binomial"): Cost(LOG, SHARE, NONE),
        ("all_to_all", "direct"): Cost(OTHERS, SHARE, NONE),
        ("all_to_all", "pairwise"): Cost(OTHERS, SHARE, NONE),
        ("all_to_all", "bruck"): Cost(LOG, BRUCK, NONE),
        ("barrier", "one_shot"): Cost(OTHERS, NONE, NONE),
        ("barrier", "dissemination"): Cost(LOG, NONE, NONE),
    }
)
"""Closed forms by collective and algorithm; q is the largest power of two up to p. Hierarchical: a function below."""


def predict(collective: str, algorithm: str, size: int, nbytes: float, network: Hockney) -> float:
    """Return the predicted time of one collective, in seconds.

    Parameters
    ----------
    collective, algorithm : str
    size : int
        Number of ranks.
    nbytes : float
        Bytes of the large side.
    network : Hockney

    Raises
    ------
    ValueError
        If there is no closed form for the algorithm.

    Examples
    --------
    >>> round(predict("all_reduce", "ring", 8, 64e6, Hockney(alpha=5e-6, beta=1e-10)), 8)
    0.01127
    """
    if (collective, algorithm) not in COSTS:
        raise ValueError(f"no closed form for {collective} {algorithm}; use Schedule.chrome_trace or the simulator")
    return COSTS[collective, algorithm].time(size, nbytes, network)


def hierarchical_all_reduce_time(
    nodes: int, ranks_per_node: int, nbytes: float, *, inside: Hockney, between: Hockney
) -> float:
    """Return the predicted time of the hierarchical all_reduce, in seconds.

    All ranks of a node share one network interface, which therefore carries ``2(k-1)/k`` of the vector.

    Parameters
    ----------
    nodes, ranks_per_node : int
    nbytes : float
        Bytes of the vector.
    inside, between : Hockney
        Links within a node (its `gamma` counts), and the network interface of a node.
    """
    k, m = nodes, ranks_per_node
    local, remote = (m - 1) / m, (k - 1) / k
    return (
        2 * (m - 1) * inside.alpha
        + 2 * (k - 1) * between.alpha
        + 2 * local * nbytes * inside.beta
        + 2 * remote * nbytes * between.beta
        + (local + remote / m) * nbytes * inside.gamma
    )


def schedule_bytes(schedule: Schedule, counts: Sequence[int]) -> tuple[int, ...]:
    """Return what every rank sends; a message to several ranks counts once for each.

    Parameters
    ----------
    schedule : Schedule
    counts : sequence of int, shape (nchunks,)
        Bytes (or elements) of each chunk.

    Returns
    -------
    tuple of int, shape (size,)
        In the unit of `counts`.

    Raises
    ------
    ValueError
        If `counts` does not name every chunk.

    Examples
    --------
    >>> from pyccl.algorithms import build
    >>> schedule_bytes(build("all_reduce", "ring", size=3), counts=[4, 3, 3])
    (14, 13, 13)
    """
    if len(counts) != schedule.nchunks:
        raise ValueError(f"counts must have one entry per chunk, got {len(counts)} for {schedule.nchunks} chunks")
    return tuple(
        sum(len(step.peers) * counts[step.chunk] for step in steps if step.kind == Kind.SEND)
        for steps in schedule.steps
    )
