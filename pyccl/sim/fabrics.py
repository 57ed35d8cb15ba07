"""Makes the fabric that a cluster's settings describe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyccl.sim.nodes import NodeType
from pyccl.sim.settings import SettingError
from pyccl.sim.topology import Dragonfly, Fabric, FatTree, Floats, Graph, Ints, Switch, Torus, Wan

Settings = Mapping[str, Any]
Nodes = Sequence[NodeType]
HOSTS_PER_LEAF = 16


def make_fabric(topology: str, settings: Settings, nodes: Nodes) -> Fabric:
    """Return the fabric of a cluster with these normalised settings and hosts.

    Raises
    ------
    SettingError
        If they contradict each other, or leave hosts without a way to others.
    """
    half = settings.get("duplex") == "half"
    if topology in ("ring", "torus"):
        dims = tuple(settings.get("dims", (sum(node.hosts for node in nodes),)))
        if len(nodes) > 1:
            raise SettingError("nodes", f"the hosts of a {topology} are of one kind, got {len(nodes)}")
        return Torus(dims, nodes[0].nic, nodes[0].latency, half)
    if topology == "fat_tree":
        return _fat_tree(settings, nodes, half)
    if topology == "dragonfly":
        return _dragonfly(settings, nodes)
    if topology == "wan":
        return _wan(settings, nodes, half)
    if topology == "graph":
        return _graph(settings, half)
    if topology == "rail_optimised" and len({(n.gpus_per_host, n.ports) for n in nodes}) > 1:
        raise SettingError("nodes", "all hosts of a rail_optimised cluster need as many devices and interfaces")
    if topology == "rail_optimised" and nodes[0].ports != nodes[0].gpus_per_host:
        raise SettingError("nics_per_host", "a rail_optimised cluster needs an interface for every device")
    return Switch()


def _host_of_port(nodes: Nodes) -> tuple[Ints, Floats]:
    """Return the host and the bytes/s of each interface."""
    ports = np.concatenate([np.full(node.hosts, node.ports) for node in nodes])
    rates = np.concatenate([np.full(node.hosts * node.ports, node.port_rate) for node in nodes])
    return np.repeat(np.arange(len(ports)), ports), rates


def _fat_tree(settings: Settings, nodes: Nodes, half: bool) -> FatTree:
    host, rates = _host_of_port(nodes)
    leaf_of = host // settings.get("hosts_per_leaf", HOSTS_PER_LEAF)
    oversubscription = settings.get("oversubscription", 1.0)
    largest = int(np.bincount(leaf_of).max())
    spines = settings.get("spines", max(1, math.ceil(largest / oversubscription)))
    below = np.bincount(leaf_of, weights=rates)
    return FatTree(leaf_of, below / oversubscription / spines, spines, nodes[0].latency, half)


def _dragonfly(settings: Settings, nodes: Nodes) -> Dragonfly:
    if settings.get("duplex") == "half":
        raise SettingError("duplex", "the links of a dragonfly are full duplex")
    for key in ("groups", "routers"):
        if key not in settings:
            raise SettingError("cluster", f"a dragonfly cluster needs {key}")
    groups, routers = settings["groups"], settings["routers"]
    host, _ = _host_of_port(nodes)
    per_router = -(-(int(host[-1]) + 1) // (groups * routers))
    local, between = (settings.get(key, nodes[0].nic) for key in ("local", "between"))
    return Dragonfly(groups, routers, host // per_router, local, between, nodes[0].latency)


def _wan(settings: Settings, nodes: Nodes, half: bool) -> Wan:
    for key in ("uplink", "uplink_latency"):
        if key not in settings:
            raise SettingError("cluster", f"a wan cluster needs {key}")
    site_of = np.repeat(np.arange(len(nodes)), [node.hosts * node.ports for node in nodes])
    rates, delays = (np.full(len(nodes), settings[key]) for key in ("uplink", "uplink_latency"))
    return Wan(tuple(node.name for node in nodes), site_of, rates, delays, half)


def _graph(settings: Settings, half: bool) -> Graph:
    names, links = settings["hosts"], settings.get("links", [])
    if len(set(names)) < len(names):
        raise SettingError("hosts", "two hosts have the same name")
    for link in links:
        if len(link.get("ends", ())) != 2 or not {"bandwidth", "latency"} <= link.keys():
            raise SettingError("links", f"a link needs two ends, bandwidth and latency, got {link}")
    ends = tuple((link["ends"][0], link["ends"][1]) for link in links)
    rates, delays = [link["bandwidth"] for link in links], [link["latency"] for link in links]
    fabric = Graph(tuple(names), ends, rates, delays, half)
    if problem := fabric.gap():
        raise SettingError("links", problem)
    return fabric
