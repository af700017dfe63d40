"""Memory of a training step: what autograd keeps between the forward and the backward pass.

Imports torch, torch_geometric and `networks.layered`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Batch

from networks.layered import LayeredNetwork


def backward_memory(network: LayeredNetwork, batch: Batch) -> int:
    """Count the bytes that autograd keeps between the forward and the backward pass.

    Parameters
    ----------
    network : LayeredNetwork
        Its parameters are not counted, and as they were afterwards.
    batch : Batch
        Molecules.
    """
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    sizes: dict[int, int] = {}
    kept: list[Tensor] = []  # storages must stay alive, or another one takes their address

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)
        return tensor

    requires = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    try:
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            network.requires_grad_(True)(batch).sum()
    finally:
        for parameter, flag in requires:
            parameter.requires_grad_(flag)
    return sum(sizes.values())
