"""One layer's messages with the sums over neighbours before the weights.

Arranges a layer's paths, weights and couplings for `networks.convolution.nodes_first_kernel`.
Imports torch and this package only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from networks.convolution.cost_model import DIRECTIONS, Direction
from networks.convolution.nodes_first_kernel import NodeForm, NodePair, send_between_nodes
from networks.convolution.paths import BlockPair, LayerPaths, Path
from networks.convolution.products import block_shapes
from networks.convolution.slot_geometry import Couplings, node_geometry, num_coupling_rows
from networks.geometry import Geometry


@dataclass(frozen=True)
class _Group:
    """Pairs of one direction. `pairs` and `form.pairs` are in the same order.

    `couplings` holds, for each neighbour block of the form, its degree and the arguments of its
    Gamma.
    """

    direction: Direction
    pairs: tuple[BlockPair, ...]
    form: NodeForm
    couplings: tuple[tuple[int, Couplings], ...]


class NodesFirst:
    """Sends a layer's messages by sums over neighbours first.

    Parameters
    ----------
    layer : LayerPaths
        Irreps and paths of the layer.
    """

    def __init__(self, layer: LayerPaths) -> None:
        self.layer = layer
        self._groups: dict[tuple[Direction, ...], list[_Group]] = {}

    def send(
        self,
        directions: tuple[Direction, ...],
        weights: Mapping[Path, Tensor],
        radial_mlp: Callable[[Tensor], Tensor],
        x: Tensor,
        geometry: Geometry,
    ) -> Tensor:
        """Send messages and sum them at the targets.

        Parameters
        ----------
        directions : tuple of {"to_centers", "from_centers"}
            Of each pair of `layer.pairs`.
        weights : mapping of Path to Tensor
            [k, mul_in * mul_out] of each path.
        radial_mlp : callable
            From the radial basis [s, num_radial] to the hidden layer [s, k].
        x : Tensor
            [n, irreps_in.dim], m-major blocks.
        geometry : Geometry
            The batch's edges.

        Returns
        -------
        Tensor
            [n, irreps_out.dim], m-major blocks, without path coefficients.
        """
        if directions not in self._groups:
            self._groups[directions] = [
                self._group(
                    direction,
                    [pair for pair, each in zip(self.layer.pairs, directions) if each == direction],
                )
                for direction in DIRECTIONS
                if direction in directions
            ]
        out = x.new_zeros(x.shape[0], self.layer.irreps_out.dim)
        for group in self._groups[directions]:
            nodes = node_geometry(geometry, center_is_target=group.direction == "to_centers")
            out = out + send_between_nodes(
                group.form,
                nodes.slots,
                group.direction,
                x,
                h=radial_mlp(nodes.radial),
                gammas=[nodes.gamma(*couplings) for couplings in group.couplings],
                weights=[_kernel_weights(pair, group.direction, weights) for pair in group.pairs],
                scratch=nodes.scratch,
            )
        return out

    def _group(self, direction: Direction, pairs: list[BlockPair]) -> _Group:
        """Sort pairs by neighbour block and assign to each its rows of that block's Gamma."""
        pairs = sorted(pairs, key=lambda pair: _ends(pair, direction)[:2])
        couplings: dict[int, tuple[int, Couplings]] = {}
        node_pairs = []
        for pair in pairs:
            ends = _ends(pair, direction)
            _, previous = couplings.get(ends.neighbor, (ends.l_neighbor, ()))
            extended = (*previous, (ends.l_center, pair.edge_degrees))
            couplings[ends.neighbor] = (ends.l_neighbor, extended)
            rows = slice(num_coupling_rows(previous), num_coupling_rows(extended))
            node_pairs.append(NodePair(ends.center, ends.neighbor, rows))
        shapes_in, shapes_out = (
            block_shapes(self.layer.irreps_in),
            block_shapes(self.layer.irreps_out),
        )
        form = NodeForm(
            tuple(node_pairs),
            center_shapes=shapes_out if direction == "to_centers" else shapes_in,
            neighbor_shapes=shapes_in if direction == "to_centers" else shapes_out,
        )
        return _Group(direction, tuple(pairs), form, tuple(couplings.values()))

    def __getstate__(self) -> dict[str, Any]:
        """Leave cached tables out of copies and pickles; they are made again when needed."""
        return {**self.__dict__, "_groups": {}}


class _Ends(NamedTuple):
    """Blocks of a pair, and their degrees, as seen from the centers."""

    neighbor: int
    center: int
    l_neighbor: int
    l_center: int


def _ends(pair: BlockPair, direction: Direction) -> _Ends:
    shape = pair.shape
    if direction == "to_centers":
        return _Ends(pair.block_in, pair.block_out, shape.l_in, shape.l_out)
    return _Ends(pair.block_out, pair.block_in, shape.l_out, shape.l_in)


def _kernel_weights(
    pair: BlockPair, direction: Direction, weights: Mapping[Path, Tensor]
) -> Tensor:
    """B [w, (q u k)] of a pair; [u, (q w k)] if centers send the messages."""
    axes = (2, 1, 0) if direction == "to_centers" else (1, 2, 0)
    shape = (-1, pair.shape.mul_in, pair.shape.mul_out)
    paths = [weights[path].view(shape).permute(axes) for path in pair.paths]
    b = torch.stack(paths, dim=1).flatten(1)
    # Y(-r) = (-1)^l2 Y(r), and exchanging input and output changes the 3j symbols by
    # (-1)^(l1 + l2 + l3).
    changes_sign = direction == "from_centers" and (pair.shape.l_in + pair.shape.l_out) % 2 == 1
    return -b if changes_sign else b
