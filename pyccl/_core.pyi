"""The C++ core of pyccl."""

from pyccl.arrays import NumpyArray

class Message:
    """One side of a point-to-point message, and the array that it reads or fills."""

    def __init__(self, sends: bool, peer: int, tag: int, array: NumpyArray, timeout: float) -> None: ...
