"""Merge what the ranks of a run have recorded: `python -m pyccl.trace DIR`."""

from pyccl.trace.format import Log, read_file, read_folder
from pyccl.trace.merge import Merged, merge

__all__ = ["Log", "Merged", "merge", "read_file", "read_folder"]
