"""Chooses the order in which one layer's messages are summed.

Imports torch, e3nn and this package only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from e3nn import o3
from torch import Tensor

from networks.convolution.cost_model import Graph, Plan, plan_layer
from networks.convolution.edges_first import EdgesFirst
from networks.convolution.nodes_first import NodesFirst
from networks.convolution.paths import LayerPaths, Path
from networks.convolution.slot_geometry import is_symmetric
from networks.geometry import Geometry


class LayerContraction:
    """Messages of one layer, given its weights: a function without parameters.

    It runs in one of two orders, chosen by operation counts (`networks.convolution.cost_model`;
    `describe` prints the choice):

    - "nodes" (`networks.convolution.nodes_first`): sums over neighbours first, then the weights.
      For many neighbours.
    - "edges" (`networks.convolution.edges_first`): the weights of a few edges at a time, in frames
      in which the tensor product is diagonal. For few neighbours.

    Both are matrix products that fit the cache. What depends on the geometry only, such as frames
    and radial basis, is shared by all layers (`networks.convolution.slot_geometry`).

    Parameters
    ----------
    irreps_in, edge_irreps, irreps_out : o3.Irreps
        Source nodes, edges (each degree once) and messages.
    hidden : int
        Width of the radial MLP's hidden layer, k.
    neighbor_norm : float
        The sum over neighbours is divided by this.

    Attributes
    ----------
    paths : list of Path
        In the order of e3nn's weights.
    """

    def __init__(
        self,
        irreps_in: o3.Irreps,
        edge_irreps: o3.Irreps,
        irreps_out: o3.Irreps,
        hidden: int,
        neighbor_norm: float,
    ) -> None:
        self.layer = LayerPaths(irreps_in, edge_irreps, irreps_out)
        self.hidden = hidden
        self.paths = self.layer.paths
        self._nodes_first = NodesFirst(self.layer)
        self._edges_first = EdgesFirst(self.layer, hidden)
        self._scales = {path.block_out: path.coefficient / neighbor_norm for path in self.paths}
        self._plans: dict[Graph, Plan] = {}

    def __call__(
        self,
        weights: Mapping[Path, Tensor],
        radial_mlp: Callable[[Tensor], Tensor],
        x: Tensor,
        geometry: Geometry,
    ) -> Tensor:
        """Send messages and sum them at the targets.

        Parameters
        ----------
        weights : mapping of Path to Tensor
            [k, mul_in * mul_out] of each path.
        radial_mlp : callable
            From the radial basis [s, num_radial] to the hidden layer [s, k].
        x : Tensor
            [n, irreps_in.dim].
        geometry : Geometry
            The batch's edges.

        Returns
        -------
        Tensor
            [n, irreps_out.dim].
        """
        x = _to_m_major(x, self.layer.irreps_in)
        plan = self.plan(graph_of(geometry))
        if not self.paths:
            out = x.new_zeros(x.shape[0], self.layer.irreps_out.dim)
        elif plan.order == "edges":
            out = self._edges_first.send(weights, radial_mlp, x, geometry)
        else:
            out = self._nodes_first.send(plan.directions, weights, radial_mlp, x, geometry)
        return _from_m_major(out, self.layer.irreps_out, self._scales)

    def plan(self, graph: Graph) -> Plan:
        """Choose the order of contraction.

        Parameters
        ----------
        graph : Graph
            Density of the batches.
        """
        if graph not in self._plans:
            self._plans[graph] = plan_layer(
                [pair.shape for pair in self.layer.pairs],
                [(ir.l, mul) for mul, ir in self.layer.irreps_in],
                [(ir.l, mul) for mul, ir in self.layer.irreps_out],
                self.hidden,
                graph,
            )
        return self._plans[graph]

    def force(self, graph: Graph, plan: Plan) -> None:
        """Replace the cost model's choice for batches of one density.

        Parameters
        ----------
        graph : Graph
            Density of the batches.
        plan : Plan
            How to contract them from now on.
        """
        self._plans[graph] = plan

    def describe(self, graph: Graph) -> str:
        """Say which order runs and why.

        Parameters
        ----------
        graph : Graph
            Density of the batches.

        Returns
        -------
        str
            A line for the layer with the cost model's nanoseconds per node, then one for each pair
            of blocks ("nodes") or each order m ("edges").
        """
        plan, layer = self.plan(graph), self.layer
        costs = ", ".join(f"{order} {cost:,.0f}" for order, cost in plan.cost.items())
        lines = [f"{layer.irreps_in} -> {layer.irreps_out}: {plan.order} first (ns/node: {costs})"]
        if plan.order == "edges":
            max_order = min(layer.irreps_in.lmax, layer.irreps_out.lmax)
            for m in range(max_order + 1):
                width_in, width_out = (side.width(m) for side in self._edges_first.sides)
                lines.append(f"  m = {m}: {width_in} -> {width_out} channels")
        else:
            for pair, direction in zip(layer.pairs, plan.directions):
                block_in, block_out = (
                    layer.irreps_in[pair.block_in],
                    layer.irreps_out[pair.block_out],
                )
                degrees = ",".join(map(str, pair.edge_degrees))
                lines.append(f"  {block_in} -> {block_out} (edge degrees {degrees}): {direction}")
        return "\n".join(lines)

    def __getstate__(self) -> dict[str, Any]:
        """Leave plans out of copies and pickles; they are made again when needed."""
        return {**self.__dict__, "_plans": {}}


def graph_of(geometry: Geometry) -> Graph:
    """Determine the density of a batch, rounded so that similar batches share a plan.

    Parameters
    ----------
    geometry : Geometry
        The batch.

    Returns
    -------
    Graph
        Edges per node are rounded to a power of 2^(1/4).
    """
    edges_per_node = max(geometry.edge_index.shape[1], 1) / max(geometry.num_nodes, 1)
    rounded = 2 ** (round(4 * math.log2(edges_per_node)) / 4)
    return Graph(rounded, is_symmetric(geometry))


def _to_m_major(x: Tensor, irreps: o3.Irreps) -> Tensor:
    """From e3nn's channel-major blocks to m-major ones."""
    pieces = x.split([mul_ir.dim for mul_ir in irreps], dim=1)
    blocks = [piece.unflatten(1, (mul, ir.dim)) for piece, (mul, ir) in zip(pieces, irreps)]
    return torch.cat([block.transpose(1, 2).flatten(1) for block in blocks], dim=1)


def _from_m_major(x: Tensor, irreps: o3.Irreps, scales: Mapping[int, float]) -> Tensor:
    """Back to e3nn's blocks, multiplied by `scales` (blocks without a path are zero anyway)."""
    pieces = x.split([mul_ir.dim for mul_ir in irreps], dim=1)
    blocks = [piece.unflatten(1, (ir.dim, mul)) for piece, (mul, ir) in zip(pieces, irreps)]
    return torch.cat(
        [(block.transpose(1, 2) * scales.get(k, 1.0)).flatten(1) for k, block in enumerate(blocks)],
        dim=1,
    )
