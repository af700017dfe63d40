"""Small networks for tests, and surgery on their weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import torch
from e3nn import o3
from torch import Tensor

from networks.convnet import EquivariantConvNet


def small_network(
    irreps: str = "4x0e+3x1o+2x2e",
    num_layers: int = 3,
    seed: int = 0,
    trim: bool = True,
    dtype: torch.dtype = torch.float64,
    convolution: str = "e3nn",
) -> EquivariantConvNet:
    """A network with layers strong enough that each block's effect stands out of rounding."""
    torch.manual_seed(seed)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # e3nn makes its coefficients in it
    try:
        return EquivariantConvNet(
            irreps,
            num_layers=num_layers,
            embedding_dim=5,
            num_elements=10,
            num_radial=4,
            neighbor_norm=1.0,
            trim_unreachable=trim,
            convolution=convolution,  # type: ignore[arg-type]
        )
    finally:
        torch.set_default_dtype(default)


def redrawn(network: EquivariantConvNet, seed: int) -> EquivariantConvNet:
    """Copy a network and draw its weights anew: shuffled within each parameter, with random signs.

    Building a network with e3nn takes a hundred times as long.
    """
    generator = torch.Generator().manual_seed(seed)
    network = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in network.parameters():
            order = torch.randperm(parameter.numel(), generator=generator)
            signs = 2 * torch.randint(2, (parameter.numel(),), generator=generator) - 1
            parameter.copy_((parameter.flatten()[order] * signs).view_as(parameter))
    return network


def paths(network: EquivariantConvNet, k: int) -> Iterator[tuple[str, str, Tensor]]:
    """(irrep in, irrep out, columns of the radial MLP's last weight) of layer k's path groups."""
    irreps_in = network.layer_irreps[k - 1] if k > 0 else network.irreps_embedding
    irreps_out = network.layer_irreps[k]
    product = o3.FullyConnectedTensorProduct(
        irreps_in, network.layer_edge_irreps[k], irreps_out, shared_weights=False
    )
    columns: dict[tuple[str, str], list[Tensor]] = {}
    start = 0
    for path in product.instructions:
        stop = start + math.prod(path.path_shape)
        ends = str(irreps_in[path.i_in1].ir), str(irreps_out[path.i_out].ir)
        columns.setdefault(ends, []).append(torch.arange(start, stop))
        start = stop
    for name_in in dict.fromkeys(name for name, _ in columns):
        for _, ir_out in irreps_out:
            if (name_in, str(ir_out)) in columns:
                yield name_in, str(ir_out), torch.cat(columns[name_in, str(ir_out)])


def last_weight(network: EquivariantConvNet, k: int) -> Tensor:
    """[hidden, weights] of layer k's radial MLP."""
    return network.layers[k].get_parameter("radial.layer1.weight")
