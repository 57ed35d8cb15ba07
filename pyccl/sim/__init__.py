"""A discrete-event simulator of collectives and of training on modelled clusters; needs no MPI."""

from pyccl.sim import quantity
from pyccl.sim.cluster import Cluster
from pyccl.sim.collective import simulate_collective
from pyccl.sim.convergence import NoiseScale
from pyccl.sim.cosimulation import Logistic, LossCurve, Problem
from pyccl.sim.distributions import Distribution
from pyccl.sim.embedding import Embedding
from pyccl.sim.loggp import LogGP
from pyccl.sim.model import Layer, Model
from pyccl.sim.nodes import NodeType
from pyccl.sim.plan_result import Plan
from pyccl.sim.planning import plan
from pyccl.sim.recovery import Recovery
from pyccl.sim.replay import replay
from pyccl.sim.replay_result import ReplayResult
from pyccl.sim.result import CollectiveResult
from pyccl.sim.scenario import Scenario
from pyccl.sim.shared_link import push_pull
from pyccl.sim.simulate import simulate
from pyccl.sim.training_result import Result
from pyccl.sim.workers import Workers

__all__ = [
    "Cluster", "CollectiveResult", "Distribution", "Embedding", "Layer", "LogGP", "Logistic", "LossCurve",
    "Model", "NodeType", "NoiseScale", "Plan", "Problem", "Recovery", "ReplayResult", "Result", "Scenario", "Workers",
    "plan", "push_pull", "quantity", "replay", "simulate", "simulate_collective",
]  # fmt: skip
