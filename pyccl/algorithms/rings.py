"""Which hosts form a ring and which stand aside, when some have slower links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ring:
    """Hosts of a ring, and those that hand their vector to one of them and get the result back.

    Attributes
    ----------
    members : tuple of int
        Indices of the hosts in the ring, ascending.
    proxies : tuple of (int, int)
        (host that stands aside, the member that speaks for it).
    """

    members: tuple[int, ...]
    proxies: tuple[tuple[int, int], ...]

    def time(self, rates: Sequence[float]) -> float:
        """Return the time of an all_reduce of a vector of 1, as the busiest link carries it.

        A member sends ``2(k-1)/k`` of the vector round the ring and once more to everyone it speaks for; a host
        that stands aside sends and receives the vector once, which is the least that any algorithm can do.
        """
        k = len(self.members)
        load = dict.fromkeys(self.members, 2 * (k - 1) / k) | {aside: 1.0 for aside, _ in self.proxies}
        for _, member in self.proxies:
            load[member] += 1
        return max(sent / rates[host] for host, sent in load.items())


def arrange(rates: Sequence[float]) -> Ring:
    """Return the ring for hosts with links of these rates (any unit): the fastest one, with as many members as may be.

    Examples
    --------
    >>> arrange([1.0, 1.0, 1.0])
    Ring(members=(0, 1, 2), proxies=())
    >>> arrange([4.0, 1.0, 4.0, 4.0])
    Ring(members=(0, 2, 3), proxies=((1, 0),))
    """
    fastest = sorted(range(len(rates)), key=lambda host: (-rates[host], host))
    rings = [_ring(rates, fastest, k) for k in range(len(rates), 0, -1)]
    return min(rings, key=lambda ring: ring.time(rates))


def _ring(rates: Sequence[float], fastest: Sequence[int], k: int) -> Ring:
    members, proxies = fastest[:k], []
    load = dict.fromkeys(members, 2 * (k - 1) / k)
    for aside in fastest[k:]:
        member = min(members, key=lambda host: ((load[host] + 1) / rates[host], host))
        load[member] += 1
        proxies.append((aside, member))
    return Ring(tuple(sorted(members)), tuple(proxies))
