"""Hosts of one kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyccl.collectives import split
from pyccl.sim.settings import NODE, SettingError


@dataclass(frozen=True)
class NodeType:
    """Equal hosts: how many, what is in each, and its price.

    Attributes
    ----------
    name : str
    hosts, gpus_per_host, nics_per_host : int
        A host with more interfaces than devices binds several to each device; one with fewer shares them.
    nic, latency : float
        Bytes/s and seconds of an interface's link.
    intra, intra_latency : float
        Bytes/s and seconds of a device's link inside its host.
    price : float
        USD per second and host.
    power : float
        Watts of a host.
    memory : float
        Bytes of a device; 0 where nothing is said.
    """

    name: str = "node"
    hosts: int = 1
    gpus_per_host: int = 1
    nics_per_host: int = 1
    nic: float = 0.0
    latency: float = 0.0
    intra: float = 300e9
    intra_latency: float = 0.5e-6
    price: float = 0.0
    power: float = 0.0
    memory: float = 0.0

    def __post_init__(self) -> None:
        a, b = self.gpus_per_host, self.nics_per_host
        if a % b and b % a:
            raise SettingError("nics_per_host", f"{a} devices cannot share {b} interfaces evenly; make one a multiple")

    @property
    def ports(self) -> int:
        """Interfaces as devices see them: those bound together count as one."""
        return min(self.gpus_per_host, self.nics_per_host)

    @property
    def port_rate(self) -> float:
        """Bytes/s of one of them."""
        return self.nic * (self.nics_per_host // self.ports)


def node_types(topology: str, settings: Mapping[str, Any]) -> tuple[NodeType, ...]:
    """Return the kinds of hosts that normalised settings describe; in a wide area one per site.

    Raises
    ------
    SettingError
        If a setting is missing, or given twice.
    """
    given = settings.get("nodes")
    if topology == "graph":
        return (NodeType(hosts=len(_needed(settings, "hosts", topology))),)
    common = {key: value for key, value in settings.items() if key in NODE}
    if given is not None:
        counts = {"hosts", "name"} & common.keys()
        if counts:
            raise SettingError(min(counts), f"{min(counts)} stands in each of nodes, not beside them")
        rows = [{**common, **row} for row in given]
    else:
        rows = [{**common, **_hosts_of_grid(topology, settings)}]
    for row in rows:
        for key in ("hosts", "nic", "latency"):
            _needed(row, key, topology)
    types = tuple(NodeType(**row) for row in rows)
    if topology == "wan" and given is None:
        node, names = types[0], _needed(settings, "sites", topology)
        rest = {**rows[0]}
        rest.pop("hosts")
        return tuple(
            NodeType(**{**rest, "name": f"site {i}", "hosts": n}) for i, n in enumerate(split(node.hosts, names))
        )
    return types


def _hosts_of_grid(topology: str, settings: Mapping[str, Any]) -> dict[str, int]:
    if topology != "torus":
        return {}
    hosts = 1
    for length in _needed(settings, "dims", topology):
        hosts *= length
    if settings.get("hosts", hosts) != hosts:
        raise SettingError(
            "hosts", f"dims {settings['dims']} have {hosts} hosts, not {settings['hosts']}; leave hosts out"
        )
    return {"hosts": hosts}


def _needed(settings: Mapping[str, Any], key: str, topology: str) -> Any:
    if key not in settings:
        raise SettingError("cluster", f"a {topology} cluster needs {key}")
    return settings[key]
