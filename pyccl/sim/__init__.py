"""A discrete-event simulator of collectives and of training on modelled clusters; needs no MPI."""

from pyccl.sim import quantity
from pyccl.sim.cluster import Cluster
from pyccl.sim.collective import simulate_collective
from pyccl.sim.distributions import Distribution
from pyccl.sim.embedding import Embedding
from pyccl.sim.model import Layer, Model
from pyccl.sim.nodes import NodeType
from pyccl.sim.recovery import Recovery
from pyccl.sim.result import CollectiveResult
from pyccl.sim.shared_link import push_pull
from pyccl.sim.simulate import simulate
from pyccl.sim.workers import Workers

__all__ = [
    "Cluster",
    "CollectiveResult",
    "Distribution",
    "Embedding",
    "Layer",
    "Model",
    "NodeType",
    "Recovery",
    "Workers",
    "push_pull",
    "quantity",
    "simulate",
    "simulate_collective",
]
