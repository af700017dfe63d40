"""Small networks for tests, and surgery on their weights."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from e3nn import o3
from torch import Tensor

from networks.convnet import EquivariantConvNet
from networks.convolution.reference import path_columns


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


def paths(network: EquivariantConvNet, k: int) -> Iterator[tuple[str, str, Tensor]]:
    """(irrep in, irrep out, columns of the radial MLP's last weight) of layer k's path groups."""
    irreps_in = network.layer_irreps[k - 1] if k > 0 else network.irreps_embedding
    whole = (irreps_in, network.edge_irreps, network.layer_irreps[k])
    for mul_in, ir_in in irreps_in:
        for mul_out, ir_out in network.layer_irreps[k]:
            one = (o3.Irreps([(mul_in, ir_in)]), o3.Irreps([(mul_out, ir_out)]))
            columns = path_columns(*whole, *one)
            if columns.numel() > 0:
                yield str(ir_in), str(ir_out), columns


def last_weight(network: EquivariantConvNet, k: int) -> Tensor:
    """[hidden, weights] of layer k's radial MLP."""
    weight: Tensor = network.layers[k].radial.layer1.weight
    return weight
