# mpirun -n 2
"""PyTorch tensors on the CPU, used where they lie: bfloat16 gradients of a small model, averaged in place.

mpirun -n 2 python docs/examples/torch_tensors.py
"""

import sys

import pyccl

try:
    import torch
except ImportError:
    print("skipped: PyTorch is not installed (pip install 'pyccl-collectives[torch]')")
    sys.exit()

with pyccl.init() as comm:
    torch.manual_seed(0)  # the same model on every rank
    model = torch.nn.Linear(16, 4, dtype=torch.bfloat16)
    inputs = torch.full((8, 16), comm.rank + 1.0, dtype=torch.bfloat16)
    model(inputs).sum().backward()

    for parameter in model.parameters():
        comm.all_reduce(parameter.grad, "avg", out=parameter.grad)

    mean = 8 * sum(range(1, comm.size + 1)) / comm.size
    assert (model.weight.grad == mean).all()
    assert isinstance(comm.all_reduce(model.weight), torch.Tensor)
