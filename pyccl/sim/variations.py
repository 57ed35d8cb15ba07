"""A scenario with one thing changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from pyccl.errors import ConfigError
from pyccl.sim.cluster import Cluster
from pyccl.sim.scenario import Scenario
from pyccl.sim.settings import TOPOLOGIES, known, unknown

Change = Callable[[Scenario], Scenario | None]


def with_topology(cluster: Cluster, topology: str) -> Cluster:
    """Return the same hosts on another topology; settings that it does not have are left out.

    Raises
    ------
    ConfigError
        If there is no such topology, or it needs settings that the cluster lacks.
    """
    if topology == cluster.topology:
        return cluster
    if topology not in TOPOLOGIES:
        raise ConfigError(unknown(topology, TOPOLOGIES, "pyccl.sim"))
    settings = {key: value for key, value in cluster.settings.items() if key in known(topology)}
    if topology == "rail_optimised":
        settings["nics_per_host"] = settings.get("gpus_per_host", 1)
    return Cluster(topology, **{"hosts": cluster.hosts, **settings} if "nodes" not in settings else settings)


def with_devices(cluster: Cluster, devices: int) -> Cluster:
    """Return the cluster with another number of devices, on hosts as full as before where that is possible.

    Raises
    ------
    ConfigError
        If its hosts are of several kinds, its topology has a fixed size, or hosts would be full in part.
    """
    if devices == cluster.size:
        return cluster
    if len(cluster.nodes) > 1 or "hosts" not in cluster.settings or cluster.topology == "graph":
        raise ConfigError(
            f"the number of workers of this {cluster.topology} cluster is fixed; leave workers out of [plan]"
        )
    per_host = min(devices, cluster.nodes[0].gpus_per_host)
    if devices % per_host:
        raise ConfigError(f"{devices} workers do not fill hosts of {per_host} devices")
    settings = {**cluster.settings, "hosts": devices // per_host}
    if per_host < cluster.nodes[0].gpus_per_host:
        settings["gpus_per_host"] = per_host
    return Cluster(cluster.topology, **settings)


def _rates(factor: float, *names: str) -> Change:
    def change(scenario: Scenario) -> Scenario | None:
        def scaled(table: Mapping[str, Any]) -> dict[str, Any]:
            return {key: value * factor if key in names else value for key, value in table.items()}

        cluster = scenario.cluster
        settings = scaled(cluster.settings)
        for part in ("nodes", "links"):
            if part in settings:
                settings[part] = [scaled(row) for row in settings[part]]
        return None if settings == cluster.settings else scenario.with_(cluster=Cluster(cluster.topology, **settings))

    return change


def _faster(scenario: Scenario) -> Scenario | None:
    layers = tuple(
        replace(layer, forward=layer.forward / 2, backward=layer.backward / 2) for layer in scenario.model.layers
    )
    return scenario.with_(model=replace(scenario.model, layers=layers))


def _steady(scenario: Scenario) -> Scenario | None:
    workers = scenario.workers
    if workers is None:
        return None
    steady = replace(workers, compute=None, slow={}, slowness=None)
    return None if steady == workers else scenario.with_(workers=steady)


def _sturdy(scenario: Scenario) -> Scenario | None:
    workers = scenario.workers
    if workers is None or not workers.fails:
        return None
    kinds = ("mtbf", "node_mtbf", "domain_mtbf", "preemption")
    longer = {name: 2 * getattr(workers, name) for name in kinds if getattr(workers, name) is not None}
    return scenario.with_(workers=replace(workers, **longer))


VARIATIONS: Mapping[str, Change] = MappingProxyType(
    {
        "twice the bandwidth of interfaces": _rates(2, "nic", "bandwidth"),
        "twice the bandwidth inside hosts": _rates(2, "intra"),
        "twice the bandwidth between sites": _rates(2, "uplink"),
        "half the latency": _rates(0.5, "latency", "intra_latency", "uplink_latency"),
        "devices twice as fast": _faster,
        "equal workers, always alike": _steady,
        "half as many failures": _sturdy,
    }
)
"""By name; a change that does not apply returns None."""
