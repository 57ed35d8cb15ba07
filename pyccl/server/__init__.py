"""The parameter server: tables that workers pull from and push gradients to."""

from pyccl.server.elastic import Elastic
from pyccl.server.parameter_server import ParameterServer
from pyccl.server.significant import SignificantRows
from pyccl.server.tables import Compensation, RowRules
from pyccl.server.view import View
from pyccl.server.work import ServerWork

__all__ = ["Compensation", "Elastic", "ParameterServer", "RowRules", "ServerWork", "SignificantRows", "View"]
