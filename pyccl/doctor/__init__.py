"""Look at this machine as pyccl would use it: `python -m pyccl.doctor`. Works without MPI and without the extension."""

from pyccl.doctor.facts import Facts, gather
from pyccl.doctor.findings import Finding, examine

__all__ = ["Facts", "Finding", "examine", "gather"]
