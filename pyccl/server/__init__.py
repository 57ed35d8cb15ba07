"""The parameter server: tables that workers pull from and push gradients to."""

from pyccl.server.parameter_server import ParameterServer
from pyccl.server.tables import Compensation, RowRules
from pyccl.server.work import ServerWork

__all__ = ["Compensation", "ParameterServer", "RowRules", "ServerWork"]
