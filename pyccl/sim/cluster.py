"""A cluster: hosts with devices and network interfaces, the fabric between them, and the way of every message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyccl.errors import ConfigError
from pyccl.sim.fabrics import HOSTS_PER_LEAF, make_fabric
from pyccl.sim.nodes import node_types
from pyccl.sim.places import Places
from pyccl.sim.quantity import Quantity
from pyccl.sim.settings import (
    TOPOLOGIES,
    SettingError,
    check_counts,
    check_units,
    in_units,
    known,
    line_of,
    load,
    normalise,
    unknown,
)
from pyccl.sim.topology import Floats, Ints

MAX_RANKS = (1 << 28) - 1  # csrc/sim/heap.h has 28 bits for a rank


class Cluster:
    """Hosts, devices, interfaces and links; every device is a rank, host by host.

    Made by `switch`, `ring`, `torus`, `fat_tree`, `rail_optimised`, `dragonfly`, `wan`, `graph` or `from_toml`.
    Quantities are texts with units or numbers in SI units. Common settings: `hosts`, `nic` (bandwidth of an
    interface's link), `latency` (of every link), `gpus_per_host`, `nics_per_host`, `intra` and `intra_latency` (a
    device's link inside its host), `memory` (of a device), `price` and `power` (of a host), `duplex`
    ("full" or "half": both ways share a link), or `nodes`, a list of tables of them (with a `name`) for hosts of
    several kinds.

    Raises
    ------
    ConfigError
        If a setting is unknown or of the wrong kind, or hosts are not connected.

    Examples
    --------
    >>> cluster = Cluster.switch(hosts=4, nic="12.5 GB/s", latency="1 us")
    >>> cluster.size, [cluster.link_name(link) for link in cluster.route(0, 3)]
    (4, ['host 0 nic 0 out', 'host 3 nic 0 in'])
    """

    def __init__(self, topology: str, **settings: Any) -> None:
        if topology not in TOPOLOGIES:
            raise SettingError("topology", unknown(topology, TOPOLOGIES, "pyccl.sim"))
        self.topology = topology
        self.settings = normalise(settings, known(topology), f"a {topology} cluster")
        self.nodes = node_types(topology, self.settings)
        if self.size > MAX_RANKS:
            raise SettingError("hosts", f"a cluster has at most {MAX_RANKS} devices, got {self.size}")
        self.fabric = make_fabric(topology, self.settings, self.nodes)

    @classmethod
    def switch(cls, hosts: int | None = None, nic: Quantity | None = None, latency: Quantity | None = None,
               **settings: Any) -> Cluster:  # fmt: skip
        """All interfaces on one non-blocking switch: two links from host to host."""
        return cls("switch", hosts=hosts, nic=nic, latency=latency, **settings)

    @classmethod
    def ring(cls, hosts: int, nic: Quantity, latency: Quantity, **settings: Any) -> Cluster:
        """Every host has a link to each of its two neighbours, which pass messages on."""
        return cls("ring", hosts=hosts, nic=nic, latency=latency, **settings)

    @classmethod
    def torus(cls, dims: Sequence[int], nic: Quantity, latency: Quantity, **settings: Any) -> Cluster:
        """A grid with wrap-around of shape `dims`; every host has links to its neighbours in each dimension."""
        return cls("torus", dims=list(dims), nic=nic, latency=latency, **settings)

    @classmethod
    def fat_tree(cls, hosts: int | None = None, nic: Quantity | None = None, latency: Quantity | None = None, *,
                 oversubscription: float = 1.0, hosts_per_leaf: int = HOSTS_PER_LEAF, spines: int | None = None,
                 **settings: Any) -> Cluster:  # fmt: skip
        """Leaf and spine switches. A leaf's links upwards carry what its hosts' do, divided by `oversubscription`."""
        return cls("fat_tree", hosts=hosts, nic=nic, latency=latency, oversubscription=oversubscription,
                   hosts_per_leaf=hosts_per_leaf, spines=spines, **settings)  # fmt: skip

    @classmethod
    def rail_optimised(cls, hosts: int, nic: Quantity, latency: Quantity, *, gpus_per_host: int = 8,
                       **settings: Any) -> Cluster:  # fmt: skip
        """A switch per rail: device i of every host is on switch i; others are reached through the host's device i."""
        return cls("rail_optimised", hosts=hosts, nic=nic, latency=latency, gpus_per_host=gpus_per_host,
                   **{"nics_per_host": gpus_per_host, **settings})  # fmt: skip

    @classmethod
    def dragonfly(cls, groups: int, routers: int, hosts: int, nic: Quantity, latency: Quantity, *,
                  local: Quantity | None = None, between: Quantity | None = None,
                  **settings: Any) -> Cluster:  # fmt: skip
        """Groups of routers, with links of `local` bytes/s in a group and one of `between` from group to group."""
        return cls("dragonfly", groups=groups, routers=routers, hosts=hosts, nic=nic, latency=latency, local=local,
                   between=between, **settings)  # fmt: skip

    @classmethod
    def wan(cls, uplink: Quantity, uplink_latency: Quantity, *, sites: int | None = None, **settings: Any) -> Cluster:
        """Sites, each a switch with a link to and one from the wide area; each of `nodes` is one if they are given.

        `egress` ("0.09 USD/GB") is the price of what leaves a site.
        """
        return cls("wan", uplink=uplink, uplink_latency=uplink_latency, sites=sites, **settings)

    @classmethod
    def graph(cls, hosts: Sequence[str], links: Sequence[Mapping[str, Any]], **settings: Any) -> Cluster:
        """Any graph: `links` are tables of `ends` (two names, of hosts or switches), `bandwidth` and `latency`."""
        return cls("graph", hosts=list(hosts), links=list(links), **settings)

    # --- what it has

    @cached_property
    def hosts(self) -> int:
        """Number of hosts."""
        return sum(node.hosts for node in self.nodes)

    @cached_property
    def size(self) -> int:
        """Number of devices, which are the ranks."""
        return sum(node.hosts * node.gpus_per_host for node in self.nodes)

    @property
    def price(self) -> float:
        """USD per second for all hosts."""
        return sum(node.hosts * node.price for node in self.nodes)

    @property
    def power(self) -> float:
        """Watts of all hosts."""
        return sum(node.hosts * node.power for node in self.nodes)

    def egress(self, link_bytes: Floats) -> float:
        """Return the USD for bytes that leave their site; `link_bytes` has shape (links,)."""
        first = self._places.fabric_at
        moved = float(link_bytes[first : first + len(self.nodes)].sum()) if self.topology == "wan" else 0.0
        return float(self.settings.get("egress", 0.0)) * moved / (2 if self.half_duplex else 1)

    @property
    def half_duplex(self) -> bool:
        """Whether both ways share a link."""
        return bool(self.settings.get("duplex") == "half")

    @cached_property
    def host_of(self) -> Ints:
        """Host of each rank, shape (size,)."""
        return self._places.host_of

    @cached_property
    def uniform(self) -> tuple[float, float] | None:
        """Latency (s) and bandwidth (bytes/s) from any rank to any other, if they are equal and nobody shares a link.

        A rank sends one message and receives one at a time.
        """
        node, alike = self.nodes[0], len({(n.nic, n.latency, n.nics_per_host) for n in self.nodes}) == 1
        if self.half_duplex:
            return None
        if self.hosts == 1 and self.topology != "graph":
            return 2 * node.intra_latency, node.intra
        if self.topology == "switch" and alike and all(n.gpus_per_host == 1 for n in self.nodes):
            return 2 * node.latency, node.port_rate
        return None

    # --- links

    @cached_property
    def _places(self) -> Places:
        return Places(self.nodes, self.fabric, half=self.half_duplex, rails=self.topology == "rail_optimised")

    @property
    def bandwidth(self) -> Floats:
        """Bytes/s of every link, shape (links,)."""
        return self._places.bandwidth

    @property
    def latency(self) -> Floats:
        """Seconds of every link, shape (links,)."""
        return self._places.latency

    def link_name(self, link: int) -> str:
        """Return what reports call a link."""
        return self._places.name(link)

    def routes(self, source: ArrayLike, destination: ArrayLike) -> tuple[Ints, Ints]:
        """Return the links that messages cross.

        Parameters
        ----------
        source, destination : array of int, shape (n,)
            Ranks.

        Returns
        -------
        (ends, links)
            The links of route i are ``links[ends[i - 1]:ends[i]]``, in order.

        Raises
        ------
        ValueError
            If a rank is out of range.
        """
        a, b = np.asarray(source, dtype=np.int64).reshape(-1), np.asarray(destination, dtype=np.int64).reshape(-1)
        for ranks in (a, b):
            if ranks.size and not (ranks.min() >= 0 and ranks.max() < self.size):
                raise ValueError(f"ranks must be in [0, {self.size})")
        padded = self._places.hops(a, b)
        crossed = (padded >= 0) & (a != b)[:, None]
        return crossed.sum(axis=1).cumsum(), padded[crossed]

    def route(self, source: int, destination: int) -> tuple[int, ...]:
        """Return the links from one rank to another, in order."""
        return tuple(self.routes([source], [destination])[1].tolist())

    # --- files

    def to_toml(self) -> str:
        """Return the cluster as TOML, which `from_toml` reads back to an equal one."""
        import tomlkit

        settings = in_units(self.settings, known(self.topology))
        return tomlkit.dumps({"cluster": {"topology": self.topology, **settings}})

    @classmethod
    def from_toml(cls, path: str | Path) -> Cluster:
        """Read the section ``[cluster]`` of a file; quantities carry their unit.

        Raises
        ------
        ConfigError
            With file, line and what to write instead.
        """
        section, text = load(Path(path), "cluster")
        try:
            return cls.from_section(section)
        except SettingError as error:
            raise ConfigError(f"{path}:{line_of(text, error.key, 'cluster')}: {error}") from None

    @classmethod
    def from_section(cls, section: Mapping[str, Any]) -> Cluster:
        """Return the cluster that a section of a file describes.

        Raises
        ------
        SettingError
            If a setting is wrong, or a quantity has no unit.
        """
        if not isinstance(section.get("topology"), str):
            raise SettingError("cluster", f"topology must be one of {', '.join(TOPOLOGIES)}")
        topology, settings = section["topology"], {key: value for key, value in section.items() if key != "topology"}
        if topology in TOPOLOGIES:
            check_units(settings, known(topology))
            check_counts(settings, known(topology))
        return cls(topology, **settings)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cluster) and (self.topology, self.settings) == (other.topology, other.settings)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Cluster {self.topology}, {self.hosts} hosts, {self.size} devices>"
