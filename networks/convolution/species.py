"""Messages from nodes of few kinds: every node of a species sends the same scalars.

Imports torch, e3nn and this package only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from e3nn import o3
from torch import Tensor

from networks.convolution.slot_geometry import edge_geometry
from networks.geometry import Geometry


def send_from_species(
    irreps_out: o3.Irreps,
    sent: dict[Any, Tensor],
    radial_mlp: Callable[[Tensor], Tensor],
    species: Tensor,
    geometry: Geometry,
) -> Tensor:
    """Sum the messages of scalar features that depend on the species alone.

    Scalars couple with harmonics of degree l to degree l only, by a 3j symbol of
    1 / sqrt(2 l + 1). With Z_t[k, (l w)] what a species t sends through radial channel k,

        out_i[l, m, w] = sum_j Y_l[m](r_ij) / sqrt(2 l + 1) sum_tk (t = t_j) h_ij[k] Z_t[k, (l w)]

    whose last sum is a product of matrices.

    Parameters
    ----------
    irreps_out : o3.Irreps
        Irreps of the messages.
    sent : dict
        Block of `irreps_out` to Z [k, t, w]; blocks that are missing receive nothing.
    radial_mlp : callable
        Hidden layer [s, k] from the radial basis [s, num_radial].
    species : Tensor
        [n] int64.
    geometry : Geometry
        The batch's edges.

    Returns
    -------
    Tensor
        [n, irreps_out.dim], e3nn's order.
    """
    blocks = list(sent)
    z = torch.cat([sent[block].transpose(0, 1) for block in blocks], dim=2)  # [t, k, (l w)]
    around = edge_geometry(geometry)
    slots = around.slots
    h = radial_mlp(around.radial).repeat_interleave(slots.twins, dim=0)
    of_neighbor = species.index_select(0, slots.neighbor).unsqueeze(1)
    is_species = torch.zeros_like(h[:, :1]).expand(-1, z.shape[0]).scatter(1, of_neighbor, 1.0)
    spread = (is_species.unsqueeze(2) * h.unsqueeze(1)).flatten(1)  # [s, (t k)]
    messages = (spread @ z.flatten(0, 1)).split([block.mul for block in blocks], dim=1)
    slices = dict(zip(geometry.edge_irreps.ls, geometry.edge_irreps.slices()))
    harmonics = geometry.harmonics.index_select(0, slots.edge)
    received = {
        block: _received(harmonics[:, slices[block.ir.l]], message, slots.center, slots.num_nodes)
        for block, message in zip(blocks, messages)
    }
    return torch.cat(
        [
            received[block] if block in received else h.new_zeros(slots.num_nodes, block.dim)
            for block in irreps_out
        ],
        dim=1,
    )


def _received(y: Tensor, message: Tensor, center: Tensor, num_nodes: int) -> Tensor:
    """Sum y[s, m] message[s, w] at the centers: [n, (w m)]."""
    outer = message.unsqueeze(2) * (y * y.shape[1] ** -0.5).unsqueeze(1)
    return y.new_zeros(num_nodes, outer.shape[1] * outer.shape[2]).index_add(
        0, center, outer.flatten(1)
    )
