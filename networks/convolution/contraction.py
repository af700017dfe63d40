"""One layer's messages, contracted in the order that the cost model chooses.

Imports torch, e3nn and this package only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any

import torch
from e3nn import o3
from torch import Tensor

from networks.convolution.clebsch_gordan import Path, tensor_product_paths
from networks.convolution.cost_model import Direction, Graph, PairShape, Plan, plan_layer
from networks.convolution.edge_frames import polar_coupling
from networks.convolution.edges_first import EdgeForm, Side, cut_terms, send_along_edges
from networks.convolution.nodes_first import NodeForm, NodePair, send_between_nodes
from networks.convolution.products import join
from networks.convolution.slot_geometry import Couplings, edge_geometry, is_symmetric, node_geometry
from networks.geometry import Geometry

TERM_NUMBERS = 1024
"""Weights of an edge that a CPU computes at once (`cut_terms`), so that chunks have many edges."""


@dataclass(frozen=True)
class _Pair:
    """All paths from one input block to one output block; they differ in the edges' degree."""

    block_in: int
    block_out: int
    paths: tuple[Path, ...]
    degrees: tuple[int, ...]
    shape: PairShape


@dataclass(frozen=True)
class _Group:
    """Pairs whose sums over neighbours are taken together."""

    direction: Direction
    pairs: tuple[_Pair, ...]
    form: NodeForm
    couplings: tuple[tuple[int, Couplings], ...]


class LayerContraction:
    """Messages of one layer, given its weights: a function without parameters.

    Runs in one of two orders, chosen by operation counts (`networks.convolution.cost_model`; `describe`
    prints the choice):

    - "nodes" (`networks.convolution.nodes_first`): sums over neighbours first, then the weights. For
      many neighbours.
    - "edges" (`networks.convolution.edges_first`): the weights of a few edges at a time, in frames in
      which the tensor product is diagonal. For few neighbours.

    Both are products of matrices that stay in cache. Gamma, frames and basis depend on the
    geometry only and are shared by all layers (`networks.convolution.slot_geometry`).

    Parameters
    ----------
    irreps_in, edge_irreps, irreps_out : o3.Irreps
        Source nodes, edges (each degree once) and messages.
    hidden : int
        Width of the radial MLP's hidden layer.
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
        self.irreps_in = irreps_in
        self.edge_irreps = edge_irreps
        self.irreps_out = irreps_out
        self.hidden = hidden
        self.paths = tensor_product_paths(irreps_in, edge_irreps, irreps_out)
        self.pairs = _pairs(self.paths, irreps_in, edge_irreps, irreps_out)
        self._scales = {path.block_out: path.coefficient / neighbor_norm for path in self.paths}
        self._plans: dict[Graph, Plan] = {}
        self._forms: dict[float, EdgeForm] = {}
        self._groups: dict[tuple[Direction, ...], list[_Group]] = {}
        self._kept_mixtures: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}

    def __call__(
        self,
        weights: dict[Path, Tensor],
        radial_mlp: Callable[[Tensor], Tensor],
        x: Tensor,
        geometry: Geometry,
    ) -> Tensor:
        """Send messages and sum them at the targets.

        Parameters
        ----------
        weights : dict of Path to Tensor
            [k, mul_in * mul_out] of every path.
        radial_mlp : callable
            Hidden layer [s, k] from the radial basis [s, num_radial].
        x : Tensor
            [n, irreps_in.dim].
        geometry : Geometry
            The batch's edges.

        Returns
        -------
        Tensor
            [n, irreps_out.dim].
        """
        x = _m_major(x, self.irreps_in)
        plan = self.plan(graph_of(geometry))
        if not self.paths:
            out = x.new_zeros(x.shape[0], self.irreps_out.dim)
        elif plan.order == "edges":
            out = self._along_edges(weights, radial_mlp, x, geometry)
        else:
            out = self._between_nodes(plan, weights, radial_mlp, x, geometry)
        return _e3nn_order(out, self.irreps_out, self._scales)

    def plan(self, graph: Graph) -> Plan:
        """Choose the order of contraction.

        Parameters
        ----------
        graph : Graph
            Density of the batches.

        Returns
        -------
        Plan
        """
        if graph not in self._plans:
            self._plans[graph] = plan_layer(
                [pair.shape for pair in self.pairs],
                [(ir.l, mul) for mul, ir in self.irreps_in],
                [(ir.l, mul) for mul, ir in self.irreps_out],
                self.hidden,
                graph,
            )
        return self._plans[graph]

    def force(self, graph: Graph, plan: Plan) -> None:
        """Contract batches of one density as told from now on.

        Parameters
        ----------
        graph : Graph
            Density of the batches.
        plan : Plan
            To be followed.
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
            A line for the layer with the cost model's nanoseconds a node, then one for every pair
            of blocks ("nodes") or every order m ("edges").
        """
        plan = self.plan(graph)
        costs = ", ".join(f"{order} {cost:,.0f}" for order, cost in plan.cost.items())
        lines = [f"{self.irreps_in} -> {self.irreps_out}: {plan.order} first (ns a node: {costs})"]
        if plan.order == "edges":
            max_order = min(self.irreps_in.lmax, self.irreps_out.lmax)
            for m in range(max_order + 1):
                ends = (side.width(m) for side in self._sides)
                lines.append("  m = {}: {} -> {} channels".format(m, *ends))
        else:
            lines += [
                f"  {self.irreps_in[pair.block_in]} -> {self.irreps_out[pair.block_out]} "
                f"(edges {','.join(map(str, pair.degrees))}): {direction}"
                for pair, direction in zip(self.pairs, plan.directions)
            ]
        return "\n".join(lines)

    def _along_edges(
        self,
        weights: dict[Path, Tensor],
        radial_mlp: Callable[[Tensor], Tensor],
        x: Tensor,
        geometry: Geometry,
    ) -> Tensor:
        """Messages, weights first: [n, irreps_out.dim] m-major, without path coefficients."""
        around = edge_geometry(geometry)
        turns = around.turns(self._irreps)
        tables = self._tables_by_order(weights)
        h = radial_mlp(around.radial)
        form = self._edge_form(x.device)
        return send_along_edges(form, around.slots, x, h, turns, tables, around.scratch)

    @cached_property
    def _irreps(self) -> tuple[o3.Irrep, ...]:
        """Every irrep of inputs and outputs once."""
        return tuple(sorted({ir for _, ir in (*self.irreps_in, *self.irreps_out)}))

    @cached_property
    def _sides(self) -> tuple[Side, Side]:
        sender, receiver = (
            Side(_shapes(irreps), tuple(self._irreps.index(ir) for _, ir in irreps))
            for irreps in (self.irreps_in, self.irreps_out)
        )
        return sender, receiver

    def _edge_form(self, device: torch.device) -> EdgeForm:
        largest = TERM_NUMBERS if device.type == "cpu" else math.inf
        if largest not in self._forms:
            self._forms[largest] = EdgeForm(*self._sides, cut_terms(*self._sides, largest))
        return self._forms[largest]

    @cached_property
    def _alike(self) -> list[list[_Pair]]:
        """Pairs sorted by what their weights can be mixed together by."""
        found: dict[tuple[int, ...], list[_Pair]] = {}
        for pair in self.pairs:
            shape = pair.shape
            key = (min(shape.l_in, shape.l_out), shape.num_paths, shape.mul_in, shape.mul_out)
            found.setdefault(key, []).append(pair)
        return list(found.values())

    def _mixtures(self, like: Tensor) -> list[Tensor]:
        """For pairs alike [p, m, q]: what their paths contribute to order m in an edge's frame."""
        key = (like.dtype, like.device)
        if key not in self._kept_mixtures:
            with torch.inference_mode(False):  # kept, so they must be of use to autograd later
                self._kept_mixtures[key] = [
                    torch.stack([self._mixture(pair) for pair in pairs]).to(like)
                    for pairs in self._alike
                ]
        return self._kept_mixtures[key]

    def _mixture(self, pair: _Pair) -> Tensor:
        ends = self.irreps_in[pair.block_in].ir, self.irreps_out[pair.block_out].ir
        rows = [0, *range(1, 2 * min(ends[0].l, ends[1].l), 2)]  # m = 0, then the rows +m
        polar = [polar_coupling(ends[0], degree, ends[1]) for degree in pair.degrees]
        return torch.stack([each.diagonal()[rows] for each in polar], dim=1)

    def _tables_by_order(self, weights: dict[Path, Tensor]) -> list[Tensor]:
        """T [k, (i u o w)] of every term from the paths' weights [k, (u w)]."""
        mixed: dict[tuple[int, int, int], Tensor] = {}
        like = weights[self.paths[0]]
        for pairs, mixture in zip(self._alike, self._mixtures(like)):
            shape, orders = pairs[0].shape, range(mixture.shape[1])
            stacked = torch.stack([weights[path] for pair in pairs for path in pair.paths])
            by_order = mixture @ stacked.view(len(pairs), shape.num_paths, -1)
            by_order = by_order.view(-1, self.hidden, shape.mul_in, shape.mul_out)
            keys = [(m, pair.block_in, pair.block_out) for pair in pairs for m in orders]
            mixed.update(zip(keys, by_order.unbind()))
        return [
            join(
                [
                    join([self._weights_of(mixed, like, term.m, i, o) for o in term.blocks], dim=2)
                    for i in self._sides[0].columns(term.m)
                ],
                dim=1,
            ).flatten(1)
            for term in self._edge_form(like.device).terms
        ]

    def _weights_of(
        self, mixed: dict[tuple[int, int, int], Tensor], like: Tensor, m: int, i: int, o: int
    ) -> Tensor:
        """[k, u, w]; zero where no path leads from block i to block o."""
        if (m, i, o) in mixed:
            return mixed[m, i, o]
        return like.new_zeros(self.hidden, self.irreps_in[i].mul, self.irreps_out[o].mul)

    def _between_nodes(
        self,
        plan: Plan,
        weights: dict[Path, Tensor],
        radial_mlp: Callable[[Tensor], Tensor],
        x: Tensor,
        geometry: Geometry,
    ) -> Tensor:
        """Messages, sums first: [n, irreps_out.dim] m-major, without path coefficients."""
        out = x.new_zeros(x.shape[0], self.irreps_out.dim)
        if plan.directions not in self._groups:
            self._groups[plan.directions] = [
                self._group(way, [p for p, its in zip(self.pairs, plan.directions) if its == way])
                for way in sorted(set(plan.directions))
            ]
        for group in self._groups[plan.directions]:
            out = out + self._send(group, weights, radial_mlp, x, geometry)
        return out

    def _group(self, direction: Direction, pairs: list[_Pair]) -> _Group:
        """Sort pairs by neighbour block and lay out that block's Gamma."""
        down = direction == "down"
        shapes_in, shapes_out = _shapes(self.irreps_in), _shapes(self.irreps_out)
        sides = ("block_in", "block_out") if down else ("block_out", "block_in")
        pairs = sorted(pairs, key=attrgetter(*sides))
        couplings: dict[int, tuple[int, Couplings]] = {}
        members = []
        for pair in pairs:
            ends = (pair.block_out, pair.block_in), (pair.shape.l_out, pair.shape.l_in)
            (center, neighbor), (l_center, l_neighbor) = ends if down else (e[::-1] for e in ends)
            before = couplings.get(neighbor, (l_neighbor, ()))[1]
            start = sum((2 * degree + 1) * len(each) for degree, each in before)
            stop = start + (2 * l_center + 1) * len(pair.degrees)
            couplings[neighbor] = (l_neighbor, (*before, (l_center, pair.degrees)))
            members.append(NodePair(center, neighbor, slice(start, stop)))
        form = NodeForm(
            tuple(members),
            center_shapes=shapes_out if down else shapes_in,
            neighbor_shapes=shapes_in if down else shapes_out,
        )
        return _Group(direction, tuple(pairs), form, tuple(couplings.values()))

    def _send(
        self,
        group: _Group,
        weights: dict[Path, Tensor],
        radial_mlp: Callable[[Tensor], Tensor],
        x: Tensor,
        geometry: Geometry,
    ) -> Tensor:
        """Messages of one group."""
        down = group.direction == "down"
        around = node_geometry(geometry, center_is_target=down)
        gammas = [around.gamma(*coupling) for coupling in group.couplings]
        tables = []
        for pair in group.pairs:
            # B [w, (q u k)], or [u, (q w k)] where messages come from the centers.
            table = torch.stack(
                [
                    weights[path]
                    .unflatten(1, (pair.shape.mul_in, pair.shape.mul_out))
                    .permute((2, 1, 0) if down else (1, 2, 0))
                    for path in pair.paths
                ],
                dim=1,
            ).flatten(1)
            # Y(-r) = (-1)^l2 Y(r), and exchanging input and output changes the 3j symbols by
            # (-1)^(l1 + l2 + l3).
            odd = (pair.shape.l_in + pair.shape.l_out) % 2 == 1
            tables.append(-table if odd and not down else table)
        h = radial_mlp(around.radial)
        return send_between_nodes(
            group.form, around.slots, group.direction, x, h, gammas, tables, around.scratch
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave plans and tables out of copies and pickles; they are made again when needed."""
        return {**self.__dict__, "_plans": {}, "_forms": {}, "_groups": {}, "_kept_mixtures": {}}


def graph_of(geometry: Geometry) -> Graph:
    """Density of a batch, rounded so that similar batches are contracted alike.

    Parameters
    ----------
    geometry : Geometry
        The batch.

    Returns
    -------
    Graph
        Edges a node are rounded to a quarter of an octave.
    """
    edges_per_node = max(geometry.edge_index.shape[1], 1) / max(geometry.num_nodes, 1)
    rounded = 2 ** (round(4 * math.log2(edges_per_node)) / 4)
    return Graph(rounded, is_symmetric(geometry))


def _pairs(
    paths: list[Path], irreps_in: o3.Irreps, edge_irreps: o3.Irreps, irreps_out: o3.Irreps
) -> list[_Pair]:
    grouped: dict[tuple[int, int], list[Path]] = {}
    for path in paths:
        grouped.setdefault((path.block_in, path.block_out), []).append(path)
    pairs = []
    for (i, o), members in grouped.items():
        (mul_in, ir_in), (mul_out, ir_out) = irreps_in[i], irreps_out[o]
        degrees = tuple(edge_irreps[path.block_edge].ir.l for path in members)
        shape = PairShape(ir_in.l, ir_out.l, mul_in, mul_out, len(members))
        pairs.append(_Pair(i, o, tuple(members), degrees, shape))
    return pairs


def _shapes(irreps: o3.Irreps) -> tuple[tuple[int, int], ...]:
    return tuple((ir.dim, mul) for mul, ir in irreps)


def _m_major(x: Tensor, irreps: o3.Irreps) -> Tensor:
    """From e3nn's channel-major blocks to m-major ones."""
    pieces = x.split([mul_ir.dim for mul_ir in irreps], dim=1)
    blocks = [piece.unflatten(1, (mul, ir.dim)) for piece, (mul, ir) in zip(pieces, irreps)]
    return torch.cat([block.transpose(1, 2).flatten(1) for block in blocks], dim=1)


def _e3nn_order(x: Tensor, irreps: o3.Irreps, scales: dict[int, float]) -> Tensor:
    """Back to e3nn's order, blocks times `scales` (those without a path are zero)."""
    pieces = x.split([mul_ir.dim for mul_ir in irreps], dim=1)
    blocks = [piece.unflatten(1, (ir.dim, mul)) for piece, (mul, ir) in zip(pieces, irreps)]
    return torch.cat(
        [(b.transpose(1, 2) * scales.get(k, 1.0)).flatten(1) for k, b in enumerate(blocks)], dim=1
    )
