"""The list of algorithms, pyccl's own and the users'."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from pyccl.collectives import collective as row_of
from pyccl.schedule import Builder, Schedule, record

Function = Callable[[Builder], None]
Order = Literal["rank", "schedule"]


@dataclass(frozen=True)
class Algorithm:
    """A registered algorithm.

    Attributes
    ----------
    collective, name : str
    function : callable (Builder) -> None
    order : {"rank", "schedule"}
        "rank": every result is one n-ary pass in rank order, bit-identical to direct.
    commutative_only : bool
        Whether the operation must be commutative.
    sizes : callable (size) -> bool, or None
        Numbers of ranks that it serves; None: all.
    reference : str
    symmetric : bool
        Whether every rank does what rank 0 does with ranks and chunks shifted by its number. The simulator then
        needs the steps of one rank alone.
    """

    collective: str
    name: str
    function: Function
    order: Order
    commutative_only: bool
    sizes: Callable[[int], bool] | None
    reference: str
    symmetric: bool = False

    def serves(self, size: int) -> bool:
        """Return whether the algorithm works for `size` ranks."""
        return self.sizes is None or self.sizes(size)


_registry: dict[tuple[str, str], Algorithm] = {}


def register_algorithm(
    collective: str,
    function: Function,
    *,
    name: str | None = None,
    order: Order = "schedule",
    commutative_only: bool = True,
    sizes: Callable[[int], bool] | None = None,
    reference: str = "",
    symmetric: bool = False,
    replace: bool = False,
) -> Algorithm:
    """Make `function` an algorithm on equal terms with pyccl's own.

    Parameters
    ----------
    collective : str
    function : callable (Builder) -> None
        Writes one rank's steps.
    name : str, optional
        Default: the function's name.
    order, commutative_only, sizes, reference, symmetric
        See `Algorithm`; `verify` checks the promises "rank" and False.
    replace : bool, default False
        Whether an algorithm of that name may exist.

    Returns
    -------
    Algorithm

    Raises
    ------
    ValueError
        If the collective is unknown, or the name is taken and `replace` is false.

    Examples
    --------
    >>> from pyccl.algorithms import build, register_algorithm
    >>> from pyccl.schedule import verify
    >>> def chain(b):
    ...     "Broadcast along the line of ranks."
    ...     b.chunks(1)
    ...     place = (b.rank - b.root) % b.size
    ...     if place > 0:
    ...         b.recv(chunk=0, source=(b.rank - 1) % b.size)
    ...     if place < b.size - 1:
    ...         b.send(chunk=0, dest=(b.rank + 1) % b.size)
    >>> _ = register_algorithm("broadcast", chain)
    >>> verify(build("broadcast", "chain", size=5, root=2)).messages
    4
    >>> unregister_algorithm("broadcast", "chain")
    """
    row_of(collective)
    if not callable(function):
        raise TypeError(f"function must be one that takes a Builder, got {type(function).__name__}")
    if order not in ("rank", "schedule"):
        raise ValueError(f'order must be "rank" or "schedule", got {order!r}')
    label = name if name is not None else getattr(function, "__name__", type(function).__name__)
    if (collective, label) in _registry and not replace:
        raise ValueError(f"{collective} already has an algorithm {label!r}; pass replace=True to replace it")
    entry = Algorithm(collective, label, function, order, commutative_only, sizes, reference, symmetric)
    _registry[collective, label] = entry
    _cached.cache_clear()
    return entry


def unregister_algorithm(collective: str, name: str) -> None:
    """Forget an algorithm.

    Raises
    ------
    ValueError
        If there is no such algorithm.
    """
    get_algorithm(collective, name)
    del _registry[collective, name]
    _cached.cache_clear()


def algorithm(
    collective: str,
    *,
    name: str,
    order: Order = "schedule",
    commutative_only: bool = True,
    sizes: Callable[[int], bool] | None = None,
    reference: str = "",
    symmetric: bool = False,
) -> Callable[[Function], Function]:
    """Decorator form of `register_algorithm`; returns the function unchanged."""

    def register(function: Function) -> Function:
        register_algorithm(
            collective,
            function,
            name=name,
            order=order,
            commutative_only=commutative_only,
            sizes=sizes,
            reference=reference,
            symmetric=symmetric,
        )
        return function

    return register


def get_algorithm(collective: str, name: str) -> Algorithm:
    """Return a registered algorithm.

    Raises
    ------
    ValueError
        If there is none of that name; the message lists those that exist.
    """
    row_of(collective)
    try:
        return _registry[collective, name]
    except KeyError:
        names = ", ".join(algorithms(collective))
        raise ValueError(f"{collective} algorithm must be one of {names}, got {name!r}") from None


def algorithms(collective: str, size: int | None = None) -> tuple[str, ...]:
    """Return the names of the algorithms of `collective`, all or those that serve `size` ranks."""
    row_of(collective)
    return tuple(
        entry.name
        for entry in _registry.values()
        if entry.collective == collective and (size is None or entry.serves(size))
    )


def build(
    collective: str,
    algorithm: str,
    size: int,
    root: int = 0,
    nodes: Sequence[int] | None = None,
    links: Sequence[float] | None = None,
) -> Schedule:
    """Return the schedule of a registered algorithm; cached, not verified.

    Parameters
    ----------
    collective, algorithm : str
    size : int
        Number of ranks.
    root : int, default 0
    nodes : sequence of int, shape (size,), optional
        Node of each rank; default: all on one.
    links : sequence of float, optional
        Rate of each node's link, nodes in the order of their lowest rank; default: all equal.

    Raises
    ------
    ValueError
        If a name is unknown, an argument is out of range, or the algorithm does not serve `size` ranks.
    """
    places = (0,) * size if nodes is None else tuple(nodes)
    return _cached(collective, algorithm, size, root, places, None if links is None else tuple(links))


@lru_cache(maxsize=256)
def _cached(
    collective: str, algorithm: str, size: int, root: int, nodes: tuple[int, ...], links: tuple[float, ...] | None
) -> Schedule:
    entry = get_algorithm(collective, algorithm)
    if not entry.serves(size):
        raise ValueError(f"{collective} {algorithm} does not serve {size} ranks")
    return record(
        entry.function,
        collective,
        size,
        root,
        nodes,
        name=entry.name,
        order=entry.order,
        commutative_only=entry.commutative_only,
        links=links,
    )


def known() -> list[tuple[str, str]]:
    """Return (collective, name) of everything registered."""
    return list(_registry)
