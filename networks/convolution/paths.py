"""Tensor product paths of one layer, with their weights' layout and normalization.

Imports e3nn and this package only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from e3nn import o3

from networks.convolution.cost_model import PairShape


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


@dataclass(frozen=True)
class BlockPair:
    """All paths from one input block to one output block; they differ in the edges' degree.

    Attributes
    ----------
    block_in, block_out : int
        Positions of the two blocks in their irreps.
    paths : tuple of Path
        By ascending edge degree.
    edge_degrees : tuple of int
        The edge degree of each path.
    shape : PairShape
        Degrees and multiplicities of the two blocks, and the number of paths.
    """

    block_in: int
    block_out: int
    paths: tuple[Path, ...]
    edge_degrees: tuple[int, ...]
    shape: PairShape


@dataclass(frozen=True)
class LayerPaths:
    """The irreps of one layer and all paths between them.

    Attributes
    ----------
    irreps_in, edge_irreps, irreps_out : o3.Irreps
        Source nodes, edges (each degree once) and messages.
    """

    irreps_in: o3.Irreps
    edge_irreps: o3.Irreps
    irreps_out: o3.Irreps

    @cached_property
    def paths(self) -> list[Path]:
        """All paths, in the order in which e3nn keeps their weights."""
        return tensor_product_paths(self.irreps_in, self.edge_irreps, self.irreps_out)

    @cached_property
    def pairs(self) -> list[BlockPair]:
        """The same paths grouped by input and output block."""
        paths_of_pair: dict[tuple[int, int], list[Path]] = {}
        for path in self.paths:
            paths_of_pair.setdefault((path.block_in, path.block_out), []).append(path)
        return [self._pair(*blocks, paths) for blocks, paths in paths_of_pair.items()]

    def _pair(self, block_in: int, block_out: int, paths: list[Path]) -> BlockPair:
        (mul_in, ir_in), (mul_out, ir_out) = self.irreps_in[block_in], self.irreps_out[block_out]
        edge_degrees = tuple(self.edge_irreps[path.block_edge].ir.l for path in paths)
        shape = PairShape(ir_in.l, ir_out.l, mul_in, mul_out, len(paths))
        return BlockPair(block_in, block_out, tuple(paths), edge_degrees, shape)


def tensor_product_paths(
    irreps_in: o3.Irreps, edge_irreps: o3.Irreps, irreps_out: o3.Irreps
) -> list[Path]:
    """List all paths in the order in which e3nn's `FullyConnectedTensorProduct` keeps weights.

    Parameters
    ----------
    irreps_in, edge_irreps, irreps_out : o3.Irreps
        Inputs, edges (each degree once) and outputs.
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
