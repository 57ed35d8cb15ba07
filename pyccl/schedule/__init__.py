"""Collectives as data: build a schedule, prove it, look at it, run it."""

from pyccl.schedule.builder import Builder, record, record_first
from pyccl.schedule.interpret import interpret
from pyccl.schedule.table import Kind, Schedule, Step, VerificationError, decode, encode
from pyccl.schedule.verify import Report, verify

__all__ = [
    "Builder",
    "Kind",
    "Report",
    "Schedule",
    "Step",
    "VerificationError",
    "decode",
    "encode",
    "interpret",
    "record",
    "record_first",
    "verify",
]
