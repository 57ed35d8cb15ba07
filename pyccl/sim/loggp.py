"""LogGP: what a message costs where no network is modelled."""

from __future__ import annotations

from dataclasses import dataclass

from pyccl.sim.quantity import Quantity, parse


@dataclass(frozen=True)
class LogGP:
    """Four parameters in seconds, or as texts with units ("1.5 us").

    A message of n bytes that a processor hands over at t has its first byte there at ``t + o + L`` and its last one
    ``(n - 1) * G`` later; then the receiver needs `o`. A rank's next message leaves ``g + (n - 1) * G`` after this one,
    and it takes its next one `g` after the last byte of this one. The processor waits where the interface is not ready.

    Attributes
    ----------
    L : float or str
        Latency.
    o : float or str, default 0
        Time of a processor (the node's lane) on each message, on both sides.
    g : float or str, default 0
        Gap between the messages of a rank.
    G : float or str, default 0
        Per byte after the first.

    Raises
    ------
    ConfigError
        If one is no time, or is below 0.

    Examples
    --------
    >>> LogGP(L="1.5 us", o="0.4 us", g="0.9 us", G="0.08 ns").seconds(65536) * 1e6  # doctest: +ELLIPSIS
    7.5428...
    """

    L: Quantity
    o: Quantity = 0.0
    g: Quantity = 0.0
    G: Quantity = 0.0

    def __post_init__(self) -> None:
        self.parameters()

    def parameters(self) -> list[float]:
        """Return L, o, g and G in seconds."""
        return [parse(getattr(self, name), "time", f"LogGP's {name}") for name in ("L", "o", "g", "G")]

    def seconds(self, nbytes: int) -> float:
        """Return the time of one message."""
        latency, overhead, _, each = self.parameters()
        return 2 * overhead + latency + max(0, nbytes - 1) * each
