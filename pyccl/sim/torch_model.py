"""The layers of a torch module, by running it once with hooks."""

from __future__ import annotations

from math import prod
from typing import Any

from pyccl.errors import ConfigError
from pyccl.sim.presets import Row


def rows_of(module: Any, example: Any) -> list[Row]:
    """Return a row for each module without submodules, in the order in which they ran, for one sample.

    Operations are counted for linear layers, convolutions, recurrent layers and multi-head attention; of others (norms,
    activations, embeddings) they are few beside these, and are taken as none. Parameters are counted once, where they
    are first used; those that no counted module has of its own go to a row ``rest``.

    Parameters
    ----------
    module : torch.nn.Module
    example : tensor or tuple
        What the module is called with; the first dimension of its first tensor is the batch.

    Raises
    ------
    ConfigError
        If torch is missing, or nothing in the module runs.
    """
    try:
        import torch
    except ImportError:
        raise ConfigError("Model.from_torch needs PyTorch; install torch, or give the layers to from_flops") from None
    arguments = example if isinstance(example, tuple) else (example,)
    samples = max(1, arguments[0].shape[0])
    rows: list[Row] = []
    counted: set[int] = set()

    def fresh(parameters: Any) -> int:
        new = [p for p in parameters if id(p) not in counted]
        counted.update(map(id, new))
        return sum(p.numel() for p in new)

    def hook(name: str) -> Any:
        def record(layer: Any, inputs: Any, output: Any) -> None:
            out = output[0] if isinstance(output, (tuple, list)) else output
            elements = out.numel() / samples
            flops = _flops(torch, layer, inputs, out) / samples
            rows.append(Row(name, flops, fresh(layer.parameters()), elements, elements))

        return record

    whole = (torch.nn.MultiheadAttention,)
    leaves = [
        (name, part)
        for name, part in module.named_modules()
        if isinstance(part, whole) or not any(True for _ in part.children())
    ]
    inside = [f"{name}." for name, part in leaves if isinstance(part, whole)]
    leaves = [(name, part) for name, part in leaves if not any(name.startswith(prefix) for prefix in inside)]
    handles = [part.register_forward_hook(hook(name or type(part).__name__)) for name, part in leaves]
    try:
        with torch.enable_grad():  # without gradients, torch takes ways through attention that call no hooks
            module(*arguments)
    finally:
        for handle in handles:
            handle.remove()
    if not rows:
        raise ConfigError(f"nothing of {type(module).__name__} ran on the example; pass a module of torch.nn modules")
    rest = fresh(module.parameters())
    return [*rows, Row("rest", 0.0, rest)] if rest else rows


def _flops(torch: Any, layer: Any, inputs: Any, out: Any) -> float:
    """Return the operations of a forward pass; a multiplication with an addition is two."""
    nn, work = torch.nn, 0
    if isinstance(layer, nn.Linear):
        work = out.numel() * layer.in_features
    elif isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        work = out.numel() * layer.in_channels // layer.groups * prod(layer.kernel_size)
    elif isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
        work = inputs[0].numel() * layer.out_channels // layer.groups * prod(layer.kernel_size)
    elif isinstance(layer, nn.MultiheadAttention):
        query, key = inputs[0], inputs[1]
        tokens = key.shape[1] if layer.batch_first else key.shape[0]
        work = 2 * (query.numel() + key.numel()) * layer.embed_dim + 2 * query.numel() * tokens
    elif isinstance(layer, nn.RNNBase):
        work = inputs[0].numel() // layer.input_size * sum(p.numel() for p in layer.parameters() if p.dim() > 1)
    return 2.0 * work
