"""What accelerators can do: peak rates as their makers state them, without sparsity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pyccl.errors import ConfigError
from pyccl.sim.settings import unknown

ITEMSIZE = MappingProxyType({"float32": 4, "tf32": 4, "float16": 2, "bfloat16": 2})
"""Bytes of a parameter and of its gradient by dtype; tf32 is float32 that matrix units multiply with fewer bits."""


@dataclass(frozen=True)
class Device:
    """An accelerator.

    Attributes
    ----------
    peak : mapping of str to float
        flop/s by dtype.
    memory : float
        Bytes.
    """

    peak: Mapping[str, float]
    memory: float


def _device(memory: float, **tera: float) -> Device:
    return Device(MappingProxyType({dtype: rate * 1e12 for dtype, rate in tera.items()}), memory * 1e9)


DEVICES = MappingProxyType(
    {
        "P100": _device(16, float32=10.6, float16=21.2),
        "V100": _device(32, float32=15.7, float16=125),
        "T4": _device(16, float32=8.1, float16=65),
        "A10": _device(24, float32=31.2, tf32=62.5, float16=125, bfloat16=125),
        "A100": _device(80, float32=19.5, tf32=156, float16=312, bfloat16=312),
        "H100": _device(80, float32=67, tf32=494.7, float16=989.4, bfloat16=989.4),
        "H200": _device(141, float32=67, tf32=494.7, float16=989.4, bfloat16=989.4),
        "MI250X": _device(128, float32=47.9, float16=383, bfloat16=383),
        "MI300X": _device(192, float32=163.4, tf32=653.7, float16=1307.4, bfloat16=1307.4),
    }
)
"""From the makers' data sheets (NVIDIA P100, V100, T4, A10, A100, H100 SXM, H200; AMD Instinct MI250X, MI300X)."""

USUAL = "A100"
"""Of a preset that names none."""


def itemsize(dtype: str) -> int:
    """Return the bytes of an element.

    Raises
    ------
    ConfigError
        If there is no such dtype.
    """
    if dtype not in ITEMSIZE:
        raise ConfigError(unknown(dtype, ITEMSIZE, "the list of dtypes"))
    return ITEMSIZE[dtype]


def peak(device: str, dtype: str) -> float:
    """Return a device's flop/s.

    Raises
    ------
    ConfigError
        If the device is unknown, or has no such dtype.
    """
    if device not in DEVICES:
        raise ConfigError(f"{unknown(device, DEVICES, 'the list of devices')}; or give rate, such as '312 Tflop/s'")
    rates = DEVICES[device].peak
    if dtype not in rates:
        raise ConfigError(f"{device} has no rate for {dtype}; write dtype as one of {', '.join(rates)}, or give rate")
    return rates[dtype]
