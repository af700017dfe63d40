"""The interface of a channelwise product, and the product in plain torch operations.

Imports torch, e3nn and this package only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from e3nn import o3
from torch import Tensor, nn

from networks.channelwise.paths import ChannelwisePaths, coupling_columns, coupling_matrices
from networks.geometry import Geometry


class ChannelwiseProduct(nn.Module, ABC):
    """Messages x_j (x) Y(r_ij), weighted path by path and channel by channel, summed at i.

    out_i[m3, (p, u)] = sum_j w_ij[p, u] sum_m1 Gamma_p,ij[m3, m1] x_j[m1, u]

    with Gamma of `networks.channelwise.paths.coupling_matrices`.

    Parameters
    ----------
    paths : ChannelwisePaths
        What is computed.
    edge_irreps : o3.Irreps
        Irreps of the geometry's harmonics.
    """

    def __init__(self, paths: ChannelwisePaths, edge_irreps: o3.Irreps) -> None:
        super().__init__()
        self.paths = paths
        self.edge_irreps = edge_irreps

    def weighted_edges(self, geometry: Geometry) -> Tensor | None:
        """Choose the edges whose weights `forward` wants.

        Returns
        -------
        Tensor or None
            [r] int64 edges; None for all, in order.
        """
        return None

    @abstractmethod
    def forward(self, x: Tensor, weights: Tensor, geometry: Geometry) -> Tensor:
        """Send messages and sum them at the targets.

        Parameters
        ----------
        x : Tensor
            [n, paths.dim_in] m-major.
        weights : Tensor
            [r, paths.num_weights], of the edges that `weighted_edges` names.
        geometry : Geometry
            The batch's edges.

        Returns
        -------
        Tensor
            [n, paths.dim_out] m-major.
        """


class PlainProduct(ChannelwiseProduct):
    """The product in torch operations, path by path; differentiable any number of times.

    It holds a message for every edge and path.
    """

    def forward(self, x: Tensor, weights: Tensor, geometry: Geometry) -> Tensor:
        """Send messages and sum them at the targets."""
        return plain_product(self.paths, x, weights, geometry)


def plain_product(
    paths: ChannelwisePaths, x: Tensor, weights: Tensor, geometry: Geometry
) -> Tensor:
    """Compute what `ChannelwiseProduct.forward` says, with weights [e, …] of all edges."""
    source, target = geometry.edge_index
    gamma, columns = coupling_matrices(paths.triples, geometry), coupling_columns(paths.triples)
    neighbors = {name: block[source] for name, block in paths.split_in(x).items()}
    messages: list[Tensor] = []
    parts = weights.split([path.channels for path in paths.paths], dim=1)
    for path, weight in zip(paths.paths, parts):
        block = neighbors[path.irrep_in]  # [e, m1, u]
        matrix = gamma[:, columns[path.triple]].unflatten(1, (-1, block.shape[1]))
        messages.append((torch.bmm(matrix, block) * weight.unsqueeze(1)).flatten(1))
    out = x.new_zeros(geometry.num_nodes, paths.dim_out)
    if not messages:
        return out
    return out.index_add(0, target, join_paths(paths, messages))


def join_paths(paths: ChannelwisePaths, pieces: Sequence[Tensor]) -> Tensor:
    """Put the channels of all paths into one output irrep side by side.

    Parameters
    ----------
    paths : ChannelwisePaths
        At least one path.
    pieces : sequence of Tensor
        [.., (m, channel)] for every path.

    Returns
    -------
    Tensor
        [.., paths.dim_out] m-major.
    """
    blocks: dict[str, list[Tensor]] = {name: [] for name in paths.irreps_out}
    for path, piece in zip(paths.paths, pieces):
        blocks[path.irrep_out].append(piece.unflatten(1, (-1, path.channels)))
    return torch.cat([torch.cat(each, dim=2).flatten(1) for each in blocks.values()], dim=1)
