"""Messages of scalar features that depend on a node's species only.

Imports torch, e3nn and this package only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from e3nn import o3
from torch import Tensor

from networks.convolution.slot_geometry import edge_geometry
from networks.geometry import Geometry


def send_from_species(
    irreps_out: o3.Irreps,
    species_messages: Mapping[Any, Tensor],
    radial_mlp: Callable[[Tensor], Tensor],
    species: Tensor,
    geometry: Geometry,
) -> Tensor:
    """Sum the messages of scalar features that all nodes of a species share.

    A scalar couples with harmonics of degree l to degree l only, by a 3j symbol of
    1 / sqrt(2 l + 1). Let Z_t[k, (l w)] be the messages of species t through radial channel k.
    Then

        out_i[l, m, w] = sum_j Y_l[m](r_ij) / sqrt(2 l + 1) sum_tk (t = t_j) h_ij[k] Z_t[k, (l w)]

    whose last sum is a matrix product.

    Parameters
    ----------
    irreps_out : o3.Irreps
        Irreps of the messages.
    species_messages : mapping
        Block of `irreps_out` to Z [k, t, w]. Blocks that are missing receive nothing.
    radial_mlp : callable
        From the radial basis [s, num_radial] to the hidden layer [s, k].
    species : Tensor
        [n] int64.
    geometry : Geometry
        The batch's edges.

    Returns
    -------
    Tensor
        [n, irreps_out.dim], e3nn's order.
    """
    blocks = list(species_messages)
    z = torch.cat([species_messages[block].transpose(0, 1) for block in blocks], dim=2)  # [t,k,lw]
    edges = edge_geometry(geometry)
    slots = edges.slots
    h = radial_mlp(edges.radial).repeat_interleave(slots.slots_per_edge, dim=0)
    neighbor_species = species.index_select(0, slots.neighbor).unsqueeze(1)
    one_hot = torch.zeros_like(h[:, :1]).expand(-1, z.shape[0]).scatter(1, neighbor_species, 1.0)
    h_of_species = (one_hot.unsqueeze(2) * h.unsqueeze(1)).flatten(1)  # [s, (t k)]
    messages = (h_of_species @ z.flatten(0, 1)).split([block.mul for block in blocks], dim=1)
    slices = dict(zip(geometry.edge_irreps.ls, geometry.edge_irreps.slices()))
    harmonics = geometry.harmonics.index_select(0, slots.edge)
    received = {
        block: _sum_at_centers(
            harmonics[:, slices[block.ir.l]], message, slots.center, slots.num_nodes
        )
        for block, message in zip(blocks, messages)
    }
    return torch.cat(
        [
            received[block] if block in received else h.new_zeros(slots.num_nodes, block.dim)
            for block in irreps_out
        ],
        dim=1,
    )


def _sum_at_centers(y: Tensor, message: Tensor, center: Tensor, num_nodes: int) -> Tensor:
    """Sum y[s, m] message[s, w] / sqrt(2 l + 1) at the centers: [n, (w m)]."""
    outer = message.unsqueeze(2) * (y * y.shape[1] ** -0.5).unsqueeze(1)
    return y.new_zeros(num_nodes, outer.shape[1] * outer.shape[2]).index_add(
        0, center, outer.flatten(1)
    )
