"""The published convolution without per-edge weights: the same function, many times faster.

Imports torch, e3nn and this package only.
"""

from __future__ import annotations

import torch
from e3nn import nn as e3nn_nn
from e3nn import o3
from torch import Tensor, nn

from networks.clebsch_gordan import Path, coupling, tensor_product_paths
from networks.contractions import Form, Side, send_messages
from networks.geometry import Geometry
from networks.neighborhoods import Neighborhoods, group_edges, is_symmetric


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
        self.neighbor_norm = neighbor_norm
        self.paths = tensor_product_paths(irreps_in, irreps_harmonics, irreps_out)
        self.radial = e3nn_nn.FullyConnectedNet(
            [num_radial, radial_hidden, self.paths[-1].columns.stop if self.paths else 0],
            nn.functional.silu,
        )

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
        pairs: dict[tuple[int, int], list[Path]] = {}
        for path in self.paths:
            pairs.setdefault((path.block_in, path.block_out), []).append(path)
        lower = {key for key in pairs if self._l_in(key) < self._l_out(key)}
        x = _m_major(x, self.irreps_in)
        out = self._send("center", {k: p for k, p in pairs.items() if k not in lower}, x, geometry)
        out = out + self._send("neighbor", {k: pairs[k] for k in lower}, x, geometry)
        scales = {path.block_out: path.coefficient for path in self.paths}
        return _e3nn_order(
            out,
            self.irreps_out,
            [scales.get(k, 1.0) / self.neighbor_norm for k in range(len(self.irreps_out))],
        )

    def _l_in(self, key):
        return self.irreps_in[key[0]].ir.l

    def _l_out(self, key):
        return self.irreps_out[key[1]].ir.l

    def _send(
        self, to: Side, pairs: dict[tuple[int, int], list[Path]], x: Tensor, geometry: Geometry
    ) -> Tensor:
        around = incoming(geometry) if to == "center" else outgoing(geometry)
        if not pairs:
            return x.new_zeros(x.shape[0], self.irreps_out.dim)
        shapes_in, shapes_out = _shapes(self.irreps_in), _shapes(self.irreps_out)
        if to == "center":
            form = Form(tuple((o, i) for i, o in pairs), shapes_out, shapes_in)
        else:
            form = Form(tuple((i, o) for i, o in pairs), shapes_in, shapes_out)
        gammas, weights = [], []
        pieces = self.radial.layer1.weight.split(
            [p.columns.stop - p.columns.start for p in self.paths], dim=1
        )
        piece = dict(zip([p.columns.start for p in self.paths], pieces))
        for (i, o), paths in pairs.items():
            l_in, l_out = self.irreps_in[i].ir.l, self.irreps_out[o].ir.l
            degrees = tuple(self.irreps_harmonics[p.block_edge].ir.l for p in paths)
            ws = [
                piece[p.columns.start].unflatten(1, (self.irreps_in[i].mul, self.irreps_out[o].mul))
                for p in paths
            ]
            if to == "center":
                gammas.append(gamma(around, l_out, l_in, degrees, self.irreps_harmonics))
                w = torch.stack([w.transpose(0, 1) for w in ws]).flatten(0, 2)
            else:
                gammas.append(gamma(around, l_in, l_out, degrees, self.irreps_harmonics))
                w = torch.stack([w.permute(2, 0, 1) for w in ws]).flatten(0, 2)
                if (l_in + l_out) % 2:
                    w = -w
            weights.append(w)
        layer0 = self.radial.layer0
        h = torch.nn.functional.silu(around.derived["radial"] @ (layer0.weight / layer0.h_in**0.5))
        h = h * (layer0.act.cst / layer0.weight.shape[1] ** 0.5)
        return send_messages(form, around, to, x, h, gammas, weights)


def incoming(geometry: Geometry) -> Neighborhoods:
    if "incoming" not in geometry.shared:
        source, target = geometry.edge_index
        geometry.shared["incoming"] = _expand(
            group_edges(target, source, geometry.num_nodes), geometry, 1
        )
    return geometry.shared["incoming"]


def outgoing(geometry: Geometry) -> Neighborhoods:
    if "outgoing" not in geometry.shared:
        source, target = geometry.edge_index
        if is_symmetric(source, target, geometry.num_nodes):
            geometry.shared["outgoing"] = incoming(geometry)
        else:
            geometry.shared["outgoing"] = _expand(
                group_edges(source, target, geometry.num_nodes), geometry, -1
            )
    return geometry.shared["outgoing"]


def _expand(around: Neighborhoods, geometry: Geometry, sign: int) -> Neighborhoods:
    radial = geometry.radial[around.edge]
    if around.mask is not None:
        radial = radial * around.mask[:, None]
    around.derived["radial"] = radial
    y = geometry.harmonics[around.edge]
    if sign < 0:
        ls = [ir.l for _, ir in geometry.irreps_harmonics for _ in range(ir.dim)]
        y = y * y.new_tensor([(-1.0) ** l for l in ls])
    around.derived["harmonics"] = y
    return around


def gamma(around, l_center, l_neighbor, degrees, irreps_harmonics):
    key = ("gamma", l_center, l_neighbor, degrees)
    if key not in around.derived:
        y = around.derived["harmonics"]
        table = y.new_zeros(
            irreps_harmonics.dim, 2 * l_center + 1, len(degrees), 2 * l_neighbor + 1
        )
        for s, (_, ir) in zip(irreps_harmonics.slices(), irreps_harmonics):
            if ir.l in degrees:
                table[s, :, degrees.index(ir.l)] = (
                    coupling(l_neighbor, ir.l, l_center).permute(1, 2, 0).to(y)
                )
        around.derived[key] = (y @ table.flatten(1)).view(y.shape[0], -1, 2 * l_neighbor + 1)
    return around.derived[key]


def _shapes(irreps: o3.Irreps) -> tuple[tuple[int, int], ...]:
    return tuple((ir.dim, mul) for mul, ir in irreps)


def _m_major(x: Tensor, irreps: o3.Irreps) -> Tensor:
    pieces = x.split([mul * ir.dim for mul, ir in irreps], dim=1)
    return torch.cat(
        [
            p.unflatten(1, (mul, ir.dim)).transpose(1, 2).flatten(1)
            for p, (mul, ir) in zip(pieces, irreps)
        ],
        dim=1,
    )


def _e3nn_order(x: Tensor, irreps: o3.Irreps, scales: list[float]) -> Tensor:
    pieces = x.split([mul * ir.dim for mul, ir in irreps], dim=1)
    return torch.cat(
        [
            (p.unflatten(1, (ir.dim, mul)).transpose(1, 2) * scale).flatten(1)
            for p, (mul, ir), scale in zip(pieces, irreps, scales)
        ],
        dim=1,
    )
