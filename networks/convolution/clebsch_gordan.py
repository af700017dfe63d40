"""Tensor product paths with their normalization, and coupling coefficients in float64.

May import torch and e3nn only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from e3nn import o3
from torch import Tensor


@dataclass(frozen=True)
class Path:
    """One path (l1, l2, l3) of a fully connected tensor product with edges of multiplicity 1.

    Attributes
    ----------
    block_in, block_edge, block_out : int
        Positions of the three blocks in their irreps.
    num_weights : int
        mul_in * mul_out, the path's columns of the radial MLP's last layer (in that order).
    coefficient : float
        sqrt((2 l3 + 1) / sum of mul_in over all paths into the output block), as in e3nn.
    """

    block_in: int
    block_edge: int
    block_out: int
    num_weights: int
    coefficient: float


def tensor_product_paths(
    irreps_in: o3.Irreps, edge_irreps: o3.Irreps, irreps_out: o3.Irreps
) -> list[Path]:
    """All paths in the order in which e3nn's `FullyConnectedTensorProduct` keeps their weights.

    Parameters
    ----------
    irreps_in, edge_irreps, irreps_out : o3.Irreps
        Inputs, edges (each degree once) and outputs.

    Returns
    -------
    list of Path
    """
    allowed = [
        (i, j, k)
        for i, (_, ir_in) in enumerate(irreps_in)
        for j, (_, ir_edge) in enumerate(edge_irreps)
        for k, (_, ir_out) in enumerate(irreps_out)
        if ir_out in ir_in * ir_edge
    ]
    fan_in = [
        sum(irreps_in[i].mul for i, _, k in allowed if k == out) for out in range(len(irreps_out))
    ]
    return [
        Path(
            i,
            j,
            k,
            num_weights=irreps_in[i].mul * irreps_out[k].mul,
            coefficient=(irreps_out[k].ir.dim / fan_in[k]) ** 0.5,
        )
        for i, j, k in allowed
    ]


CPU = torch.device("cpu")


@cache
def coupling(l1: int, l2: int, l3: int, device: torch.device = CPU) -> Tensor:
    """e3nn's real Wigner 3j symbols, always in float64 whatever the default dtype.

    Parameters
    ----------
    l1, l2, l3 : int
        Degrees that satisfy the triangle inequality.
    device : torch.device
        Where they shall be; copied there once.

    Returns
    -------
    Tensor
        [2 l1 + 1, 2 l2 + 1, 2 l3 + 1] float64. Shared by all callers: do not write into it.
    """
    with torch.inference_mode(False):  # cached, so it must be of use to autograd later
        if device != CPU:
            return coupling(l1, l2, l3).to(device)
        return o3.wigner_3j(l1, l2, l3, dtype=torch.float64, device=CPU)
