"""The published convolution without per-edge weights: the same function, many times faster.

Imports torch, e3nn and this package only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from e3nn import nn as e3nn_nn
from e3nn import o3
from torch import Tensor, nn

from networks.clebsch_gordan import Path, tensor_product_paths
from networks.contractions import Form, send_messages
from networks.cost_model import Choice, Direction, Graph, Order, PairShape, choose
from networks.geometry import Geometry
from networks.slot_geometry import slot_geometry


@dataclass(frozen=True)
class _Pair:
    """All paths from one input block to one output block."""

    block_in: int
    block_out: int
    paths: tuple[Path, ...]
    degrees: tuple[int, ...]
    shape: PairShape


class FastConvolution(nn.Module):
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
        self.radial_hidden = radial_hidden
        self.neighbor_norm = neighbor_norm
        self.paths = tensor_product_paths(irreps_in, irreps_harmonics, irreps_out)
        self.pairs = self._pairs()
        self.radial = e3nn_nn.FullyConnectedNet(
            [num_radial, radial_hidden, sum(path.num_weights for path in self.paths)],
            nn.functional.silu,
        )

    def _pairs(self) -> list[_Pair]:
        grouped: dict[tuple[int, int], list[Path]] = {}
        for path in self.paths:
            grouped.setdefault((path.block_in, path.block_out), []).append(path)
        pairs = []
        for (i, o), paths in grouped.items():
            (mul_in, ir_in), (mul_out, ir_out) = self.irreps_in[i], self.irreps_out[o]
            degrees = tuple(self.irreps_harmonics[path.block_edge].ir.l for path in paths)
            shape = PairShape(ir_in.l, ir_out.l, mul_in, mul_out, len(paths))
            pairs.append(_Pair(i, o, tuple(paths), degrees, shape))
        return pairs

    def plan(self, graph: Graph) -> list[Choice]:
        return choose([pair.shape for pair in self.pairs], self.radial_hidden, graph)

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
        plan = self.plan(Graph(geometry.edge_index.shape[1] / geometry.num_nodes, True))
        groups: dict[tuple[Order, Direction], list[_Pair]] = {}
        for pair, choice in zip(self.pairs, plan):
            groups.setdefault((choice.order, choice.direction), []).append(pair)
        x = _m_major(x, self.irreps_in)
        sizes = [path.num_weights for path in self.paths]
        weights = dict(zip(self.paths, self.radial.layer1.weight.split(sizes, dim=1)))
        out = x.new_zeros(x.shape[0], self.irreps_out.dim)
        for (order, direction), pairs in groups.items():
            out = out + self._send(order, direction, pairs, weights, x, geometry)
        scales = {path.block_out: path.coefficient / self.neighbor_norm for path in self.paths}
        return _e3nn_order(out, self.irreps_out, scales)

    def _send(
        self,
        order: Order,
        direction: Direction,
        pairs: list[_Pair],
        weights: dict[Path, Tensor],
        x: Tensor,
        geometry: Geometry,
    ) -> Tensor:
        """Messages of the pairs that share order and direction, [n, out] m-major."""
        around = slot_geometry(geometry, order, center_is_target=direction == "down")
        shapes_in, shapes_out = _shapes(self.irreps_in), _shapes(self.irreps_out)
        if direction == "down":
            form = Form(tuple((p.block_out, p.block_in) for p in pairs), shapes_out, shapes_in)
        else:
            form = Form(tuple((p.block_in, p.block_out) for p in pairs), shapes_in, shapes_out)
        gammas, tables = [], []
        for pair in pairs:
            ls = pair.shape.l_in, pair.shape.l_out
            gammas.append(around.gamma(*(ls[::-1] if direction == "down" else ls), pair.degrees))
            shape = (pair.shape.mul_in, pair.shape.mul_out)
            kuw = [weights[path].unflatten(1, shape) for path in pair.paths]
            table = _arrange(kuw, order, direction)
            # Y(-r) = (-1)^l Y(r), and the 3j symbols change by (-1)^(l1 + l2 + l3) where the
            # roles of input and output are exchanged.
            tables.append(-table if direction == "up" and sum(ls) % 2 else table)
        h = self._hidden(around.radial)
        return send_messages(form, around.slots, direction, x, h, gammas, tables)

    def _hidden(self, radial: Tensor) -> Tensor:
        """Hidden layer of the radial MLP, divided by the square root of its width."""
        layer = self.radial.layer0
        h = nn.functional.silu(radial @ (layer.weight / layer.h_in**0.5))
        return h * (layer.act.cst / self.radial_hidden**0.5)


def _arrange(kuw: list[Tensor], order: Order, direction: Direction) -> Tensor:
    """B of one pair from its paths' weights [k, u, w], as `send_messages` wants it."""
    dims = {
        ("nodes", "down"): (2, 1, 0),
        ("nodes", "up"): (1, 2, 0),
        ("edges", "down"): (0, 1, 2),
        ("edges", "up"): (0, 2, 1),
    }[order, direction]
    return torch.stack([weight.permute(dims) for weight in kuw], dim=1).flatten(1)


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
