"""Where everything of a cluster is: ranks on hosts, and links by number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyccl.sim.nodes import NodeType
from pyccl.sim.topology import Fabric, Floats, Ints


class Places:
    """The numbers of a cluster's links: interfaces outwards, then inwards, devices outwards, inwards, the fabric's.

    In half duplex the same link serves both ways. A fabric that joins hosts has no interfaces of its own.
    """

    def __init__(self, nodes: Sequence[NodeType], fabric: Fabric, *, half: bool, rails: bool) -> None:
        self.fabric, self.half, self.rails = fabric, half, rails
        each = [node.hosts for node in nodes]

        def per_host(what: str) -> Any:
            return np.repeat([getattr(node, what) for node in nodes], each)

        devices, ports = per_host("gpus_per_host"), per_host("ports")
        hosts = len(devices)
        self.host_of: Ints = np.repeat(np.arange(hosts), devices)
        self.first_device: Ints = np.cumsum(devices) - devices
        self.first_port: Ints = np.cumsum(ports) - ports
        self.local: Ints = np.arange(len(self.host_of)) - self.first_device[self.host_of]
        self.port_of: Ints = self.first_port[self.host_of] + self.local * ports[self.host_of] // devices[self.host_of]
        self.host_of_port: Ints = np.repeat(np.arange(hosts), ports)
        ways = 1 if half else 2
        self.ports = 0 if fabric.joins_hosts else len(self.host_of_port)
        self.devices = len(self.host_of) if devices.max() > 1 else 0
        self.port_in = self.ports * (ways - 1)
        self.device_out = self.ports * ways
        self.device_in = self.device_out + self.devices * (ways - 1)
        self.fabric_at = self.device_out + self.devices * ways

        def links(per_port: str, per_device: str, between: Floats) -> Floats:
            port = np.repeat(per_host(per_port), ports)[: self.ports]
            device = np.repeat(per_host(per_device), devices)[: self.devices]
            return np.concatenate([np.tile(port, ways), np.tile(device, ways), between]).astype(float)

        self.bandwidth = links("port_rate", "intra", fabric.bandwidth)
        self.latency = links("latency", "intra_latency", fabric.latency)

    def hops(self, a: Ints, b: Ints) -> Ints:
        """Return the links from ranks `a` to ranks `b`, shape (n, h); -1 is no link."""
        here, there = self.host_of[a], self.host_of[b]
        inside = here == there
        relay = self.first_device[here] + self.local[b] if self.rails else a
        within = inside | (relay != a)  # a message for another rail first goes to the device that is on it
        to = np.where(inside, b, relay)
        columns = [np.where(within, self.device_out + a, -1), np.where(within, self.device_in + to, -1)]
        if self.fabric.joins_hosts:
            far = self.fabric.hops(here, there)
            return np.concatenate([np.stack(columns, axis=1), np.where(far >= 0, far + self.fabric_at, -1)], axis=1)
        out, into = self.port_of[relay], self.port_of[b]
        far = self.fabric.hops(out, into)
        far = np.where((far >= 0) & ~inside[:, None], far + self.fabric_at, -1)
        near, end = (np.where(inside, -1, link)[:, None] for link in (out, into + self.port_in))
        return np.concatenate([np.stack(columns, axis=1), near, far, end], axis=1)

    def name(self, link: int) -> str:
        """Return what reports call a link."""
        if link >= self.fabric_at:
            return self.fabric.name(link - self.fabric_at)
        if link < self.device_out:
            way, port = divmod(link, self.ports)
            host = int(self.host_of_port[port])
            what = f"host {host} nic {port - int(self.first_port[host])}"
        else:
            way, device = divmod(link - self.device_out, self.devices)
            what = f"host {self.host_of[device]} device {self.local[device]}"
        return what if self.half else f"{what} {'in' if way else 'out'}"
