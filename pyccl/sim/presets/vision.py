"""Convolutional networks on images of 224 x 224."""

from __future__ import annotations

from collections.abc import Iterator

from pyccl.sim.presets.architecture import Architecture, Row


def _conv(name: str, inputs: int, outputs: int, kernel: int, side: int, *, norm: bool) -> Row:
    """Return a convolution with an output of side x side, followed by a normalisation or with a bias."""
    weights, elements = inputs * outputs * kernel * kernel, outputs * side * side
    extra = 2 * outputs if norm else outputs
    return Row(name, 2.0 * weights * side * side, weights + extra, elements, (2 if norm else 1) * elements)


def _linear(name: str, inputs: int, outputs: int) -> Row:
    return Row(name, 2.0 * inputs * outputs, (inputs + 1) * outputs, outputs, inputs)


def _resnet50() -> Iterator[Row]:
    yield _conv("stem", 3, 64, 7, 112, norm=True)
    inputs, side = 64, 56
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for block in range(blocks):
            name, halves = f"layer{stage + 1}.{block}", stage > 0 and block == 0
            yield _conv(f"{name}.1", inputs, width, 1, side, norm=True)
            side = side // 2 if halves else side
            yield _conv(f"{name}.2", width, width, 3, side, norm=True)
            yield _conv(f"{name}.3", width, 4 * width, 1, side, norm=True)
            if block == 0:
                yield _conv(f"{name}.downsample", inputs, 4 * width, 1, side, norm=True)
            inputs = 4 * width
    yield _linear("fc", 2048, 1000)


def resnet50(sequence: int | None = None) -> Architecture:
    """He et al. 2016, doi:10.1109/CVPR.2016.90: bottleneck blocks 3-4-6-3, stride in the 3 x 3 convolution."""
    return Architecture(tuple(_resnet50()), batch=128)


def _vgg16() -> Iterator[Row]:
    inputs, side, index = 3, 224, 0
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            yield _conv(f"conv{index}", inputs, width, 3, side, norm=False)
            inputs, index = width, index + 1
        side //= 2
    for index, (rows, columns) in enumerate(((512 * 7 * 7, 4096), (4096, 4096), (4096, 1000))):
        yield _linear(f"fc{index}", rows, columns)


def vgg16(sequence: int | None = None) -> Architecture:
    """Simonyan, Zisserman 2015, arXiv:1409.1556, configuration D."""
    return Architecture(tuple(_vgg16()), batch=64)
