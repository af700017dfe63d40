"""The published convolution without per-edge weights: the same function, many times faster.

Imports torch, e3nn and this package only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from e3nn import nn as e3nn_nn
from e3nn import o3
from torch import Tensor, nn

from networks.clebsch_gordan import Path, tensor_product_paths
from networks.contractions import Form, Pair, send_messages
from networks.cost_model import Direction, Graph, Order, PairShape, choose
from networks.geometry import Geometry
from networks.slot_geometry import Couplings, is_symmetric, slot_geometry


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
    """Pairs that are contracted together."""

    order: Order
    direction: Direction
    pairs: tuple[_Pair, ...]
    form: Form
    couplings: tuple[tuple[int, Couplings], ...]


class FastConvolution(nn.Module):
    """The function, parameters and state dict of `E3nnConvolution`, contracted in another order.

    The radial MLP's last layer is linear, so an edge's weights are W_e[p, u, w] =
    sum_k h_e[k] B_p[k, u, w] / sqrt(K) with h_e = c silu(basis w_0 / sqrt(num_radial)), c being
    e3nn's normalization of SiLU, and

        out_i[w, m3] = (1 / norm) sum_p c_p sum_j sum_k h_ij[k] sum_u B_p[k, u, w]
                       sum_m1 Gamma_p,ij[m1, m3] x_j[u, m1],    Gamma_p = sum_m2 C_p Y[m2]

    may be summed in any order. e3nn forms W_e for all edges at once (11,264 numbers an edge for
    three degrees of 32 channels) and keeps it for the backward pass; here the sums go through
    products of matrices that stay in cache (`networks.contractions`), in an order chosen for each
    layer by operation counts (`networks.cost_model`; `describe` prints the choice). Gamma and
    basis depend on the geometry only and are shared by all layers (`networks.slot_geometry`).

    Everything is a constant or a float64 table rounded once to the features' dtype, so results
    agree with e3nn's to rounding in float64 too. (e3nn rounds its 3j symbols to the default
    dtype when a layer is built: a float64 network made by ``.double()`` from a float32 one then
    differs by 1e-10 to 5e-9 wherever three degrees above 0 meet, while one built under a float64
    default does not. `E3nnConvolution` recomputes them.)

    Parameters
    ----------
    irreps_in : o3.Irreps
        Irreps of the source nodes.
    irreps_harmonics : o3.Irreps
        Irreps of the edges, each degree once.
    irreps_out : o3.Irreps
        Irreps of the messages.
    num_radial : int
        Number of radial basis functions.
    radial_hidden : int
        Width of the radial MLP's hidden layer.
    cutoff : float
        Length over which the radial basis is defined, angstrom (the geometry holds the basis).
    neighbor_norm : float
        The sum over neighbours is divided by this.
    """

    def __init__(
        self,
        irreps_in: o3.Irreps,
        irreps_harmonics: o3.Irreps,
        irreps_out: o3.Irreps,
        num_radial: int,
        radial_hidden: int,
        cutoff: float,
        neighbor_norm: float,
    ) -> None:
        super().__init__()
        self.irreps_in = irreps_in
        self.irreps_harmonics = irreps_harmonics
        self.irreps_out = irreps_out
        self.num_radial = num_radial
        self.radial_hidden = radial_hidden
        self.cutoff = cutoff
        self.neighbor_norm = neighbor_norm
        self.paths = tensor_product_paths(irreps_in, irreps_harmonics, irreps_out)
        self.pairs = _pairs(self.paths, irreps_in, irreps_harmonics, irreps_out)
        self.radial = e3nn_nn.FullyConnectedNet(
            [num_radial, radial_hidden, sum(path.num_weights for path in self.paths)],
            nn.functional.silu,
        )
        self._plans: dict[Graph, list[_Group]] = {}

    def forward(self, x: Tensor, geometry: Geometry) -> Tensor:
        """Convolve node features.

        Parameters
        ----------
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
        sizes = [path.num_weights for path in self.paths]
        weights = dict(zip(self.paths, self.radial.layer1.weight.split(sizes, dim=1)))
        out = x.new_zeros(x.shape[0], self.irreps_out.dim)
        for group in self._plan(graph_of(geometry)):
            out = out + self._send(group, weights, x, geometry)
        scales = {path.block_out: path.coefficient / self.neighbor_norm for path in self.paths}
        return _e3nn_order(out, self.irreps_out, scales)

    def describe(self, graph: Graph) -> str:
        """Say which order runs for each pair of blocks, and what the cost model gave for it.

        Parameters
        ----------
        graph : Graph
            Density of the batches.

        Returns
        -------
        str
            One line a pair: blocks, edge degrees, order, direction, nanoseconds a node.
        """
        choices = choose([pair.shape for pair in self.pairs], self.radial_hidden, graph)
        return "\n".join(
            f"{self.irreps_in[pair.block_in]} -> {self.irreps_out[pair.block_out]} "
            f"(edges {','.join(map(str, pair.degrees))}): {choice.order}, {choice.direction}, "
            f"{choice.cost:.0f} ns a node"
            for pair, choice in zip(self.pairs, choices)
        )

    def _plan(self, graph: Graph) -> list[_Group]:
        """Group the pairs by order and direction."""
        if graph not in self._plans:
            choices = choose([pair.shape for pair in self.pairs], self.radial_hidden, graph)
            groups: dict[tuple[Order, Direction], list[_Pair]] = {}
            for pair, choice in zip(self.pairs, choices):
                groups.setdefault((choice.order, choice.direction), []).append(pair)
            self._plans[graph] = [
                self._group(order, direction, pairs) for (order, direction), pairs in groups.items()
            ]
        return self._plans[graph]

    def _group(self, order: Order, direction: Direction, pairs: list[_Pair]) -> _Group:
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
            members.append(Pair(center, neighbor, slice(start, stop)))
        form = Form(
            tuple(members),
            center_shapes=shapes_out if down else shapes_in,
            neighbor_shapes=shapes_in if down else shapes_out,
        )
        return _Group(order, direction, tuple(pairs), form, tuple(couplings.values()))

    def _send(
        self, group: _Group, weights: dict[Path, Tensor], x: Tensor, geometry: Geometry
    ) -> Tensor:
        """Messages of one group, [n, irreps_out.dim] m-major, without path coefficients."""
        down = group.direction == "down"
        around = slot_geometry(geometry, group.order, center_is_target=down)
        gammas = [around.gamma(*coupling) for coupling in group.couplings]
        tables = []
        for pair in group.pairs:
            channels = (pair.shape.mul_in, pair.shape.mul_out)
            weights_kuw = [weights[path].unflatten(1, channels) for path in pair.paths]
            table = _arrange(weights_kuw, group.order, group.direction)
            # Y(-r) = (-1)^l2 Y(r), and exchanging input and output changes the 3j symbols by
            # (-1)^(l1 + l2 + l3).
            odd = (pair.shape.l_in + pair.shape.l_out) % 2 == 1
            tables.append(-table if odd and not down else table)
        h = self._hidden(around.radial)
        return send_messages(
            group.form, around.slots, group.direction, x, h, gammas, tables, around.scratch
        )

    def _hidden(self, radial: Tensor) -> Tensor:
        """Hidden layer of the radial MLP, [s, k], divided by the square root of its width."""
        layer = self.radial.layer0
        h = nn.functional.silu(radial @ (layer.weight / self.num_radial**0.5))
        return h * (layer.act.cst / self.radial_hidden**0.5)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the plans out of copies and pickles; they are made again when needed."""
        return {**self.__dict__, "_plans": {}}


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
    paths: list[Path], irreps_in: o3.Irreps, irreps_harmonics: o3.Irreps, irreps_out: o3.Irreps
) -> list[_Pair]:
    grouped: dict[tuple[int, int], list[Path]] = {}
    for path in paths:
        grouped.setdefault((path.block_in, path.block_out), []).append(path)
    pairs = []
    for (i, o), members in grouped.items():
        (mul_in, ir_in), (mul_out, ir_out) = irreps_in[i], irreps_out[o]
        degrees = tuple(irreps_harmonics[path.block_edge].ir.l for path in members)
        shape = PairShape(ir_in.l, ir_out.l, mul_in, mul_out, len(members))
        pairs.append(_Pair(i, o, tuple(members), degrees, shape))
    return pairs


def _arrange(weights_kuw: list[Tensor], order: Order, direction: Direction) -> Tensor:
    """B of one pair from its paths' weights [k, u, w], as `send_messages` wants it."""
    dims = {
        ("nodes", "down"): (2, 1, 0),
        ("nodes", "up"): (1, 2, 0),
        ("edges", "down"): (0, 1, 2),
        ("edges", "up"): (0, 2, 1),
    }[order, direction]
    return torch.stack([weight.permute(dims) for weight in weights_kuw], dim=1).flatten(1)


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
