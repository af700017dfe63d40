"""The channelwise product in e3nn's own `TensorProduct`: the reference for tests and benchmarks.

Imports torch, e3nn and this package only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from e3nn import o3
from torch import Tensor

from networks.channelwise.paths import HARMONICS_SCALE, ChannelwisePaths
from networks.channelwise.plain import ChannelwiseProduct, join_paths
from networks.geometry import Geometry


class E3nnProduct(ChannelwiseProduct):
    """One `o3.TensorProduct` with ``uvu`` paths for all edges, then a sum over neighbours."""

    def __init__(self, paths: ChannelwisePaths, edge_irreps: o3.Irreps) -> None:
        super().__init__(paths, edge_irreps)
        # A plain attribute: the product has buffers, which no state dict should have.
        self._product: tuple[o3.TensorProduct, ...] = ()
        if paths.paths:
            irreps, instructions = path_instructions(paths, edge_irreps)
            self._product = (
                o3.TensorProduct(
                    *irreps, instructions, shared_weights=False, internal_weights=False
                ),
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Convert dtype or device, and recompute e3nn's 3j symbols, which it has rounded."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for product in self._product:
            product._apply(fn)
            for name, buffer in product.named_buffers():
                _, is_w3j, degrees = name.rpartition("_w3j_")
                if is_w3j:
                    exact = o3.wigner_3j(*map(int, degrees.split("_")), dtype=torch.float64)
                    buffer.data.copy_(exact)
        return self

    def forward(self, x: Tensor, weights: Tensor, geometry: Geometry) -> Tensor:
        """Send messages and sum them at the targets."""
        out = x.new_zeros(geometry.num_nodes, self.paths.dim_out)
        if not self._product:
            return out
        source, target = geometry.edge_index
        blocks = self.paths.split_in(x).values()
        channel_major = torch.cat([block.transpose(1, 2).flatten(1) for block in blocks], dim=1)
        messages = self._product[0](
            channel_major.index_select(0, source), geometry.harmonics * HARMONICS_SCALE, weights
        )
        return out.index_add(0, target, to_m_major(self.paths, messages))


def path_instructions(
    paths: ChannelwisePaths, edge_irreps: o3.Irreps
) -> tuple[tuple[o3.Irreps, o3.Irreps, o3.Irreps], list[tuple[int, int, int, str, bool]]]:
    """Describe the paths as e3nn and OpenEquivariance want them.

    Parameters
    ----------
    paths : ChannelwisePaths
        At least one path.
    edge_irreps : o3.Irreps
        Irreps of the harmonics.

    Returns
    -------
    irreps : tuple of o3.Irreps
        Of the input, the edges and the output, which has a block for every path.
    instructions : list
        (input block, edge block, output block, "uvu", has weights) of every path.
    """
    names, degrees = [name for name, _ in paths.irreps_in], list(edge_irreps.ls)
    irreps = (
        o3.Irreps([(channels, name) for name, channels in paths.irreps_in]),
        edge_irreps,
        o3.Irreps([(path.channels, path.irrep_out) for path in paths.paths]),
    )
    instructions = [
        (names.index(path.irrep_in), degrees.index(path.edge_degree), k, "uvu", True)
        for k, path in enumerate(paths.paths)
    ]
    return irreps, instructions


def to_m_major(paths: ChannelwisePaths, messages: Tensor) -> Tensor:
    """Reorder [.., (path, channel, m)] into what `ChannelwiseProduct.forward` returns."""
    dims = [o3.Irrep(path.irrep_out).dim for path in paths.paths]
    sizes = [path.channels * dim for path, dim in zip(paths.paths, dims)]
    pieces = [
        piece.unflatten(1, (path.channels, dim)).transpose(1, 2).flatten(1)
        for piece, path, dim in zip(messages.split(sizes, dim=1), paths.paths, dims)
    ]
    return join_paths(paths, pieces)
