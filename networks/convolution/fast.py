"""The published convolution without storing per-edge weights: the same function, much faster.

Imports torch, e3nn and this package only.
"""

from __future__ import annotations

import torch
from e3nn import nn as e3nn_nn
from e3nn import o3
from torch import Tensor, nn

from networks.convolution.contraction import LayerContraction
from networks.convolution.interface import Convolution
from networks.convolution.paths import Path
from networks.convolution.species import send_from_species
from networks.geometry import Geometry


class FastConvolution(Convolution):
    """`E3nnConvolution` with the sums in another order: same function, parameters and state dict.

    The radial MLP's last layer is linear, so an edge's weights are W_e[p, u, w] =
    sum_k h_e[k] B_p[k, u, w] / sqrt(K) with h_e = c silu(basis w_0 / sqrt(num_radial)), where c is
    e3nn's normalization of SiLU. Hence the sums in

        out_i[w, m3] = (1 / norm) sum_p c_p sum_j sum_k h_ij[k] sum_u B_p[k, u, w]
                       sum_m1 Gamma_p,ij[m1, m3] x_j[u, m1],    Gamma_p = sum_m2 C_p Y[m2]

    may be taken in any order. e3nn computes W_e for all edges at once (11,264 weights per edge for
    three degrees of 32 channels) and keeps it for the backward pass. Here `LayerContraction`
    chooses an order that needs less. Two layers take shortcuts: the first one's features are the
    same for all atoms of an element (`of_species`), and a scalar readout needs only one linear
    combination of the last one's scalars (`scalars`).

    Constants are exact or float64 tables that are rounded once to the features' dtype, so results
    agree with e3nn's to rounding in float64 too. (e3nn rounds its 3j symbols to the default dtype
    when a layer is built. A float64 network made by ``.double()`` from a float32 one then differs
    by 1e-10 to 5e-9 wherever three degrees above 0 meet; one built under a float64 default does
    not. `E3nnConvolution` therefore recomputes them.)

    Parameters
    ----------
    irreps_in : o3.Irreps
        Irreps of the source nodes.
    edge_irreps : o3.Irreps
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
        edge_irreps: o3.Irreps,
        irreps_out: o3.Irreps,
        num_radial: int,
        radial_hidden: int,
        cutoff: float,
        neighbor_norm: float,
    ) -> None:
        super().__init__()
        self.irreps_in = irreps_in
        self.edge_irreps = edge_irreps
        self.irreps_out = irreps_out
        self.num_radial = num_radial
        self.radial_hidden = radial_hidden
        self.cutoff = cutoff
        self.neighbor_norm = neighbor_norm
        self.contraction = LayerContraction(
            irreps_in, edge_irreps, irreps_out, radial_hidden, neighbor_norm
        )
        self.to_scalar = LayerContraction(
            irreps_in, edge_irreps, o3.Irreps("1x0e"), radial_hidden, neighbor_norm
        )
        self.radial = e3nn_nn.FullyConnectedNet(
            [num_radial, radial_hidden, sum(path.num_weights for path in self.contraction.paths)],
            nn.functional.silu,
        )

    def forward(self, x: Tensor, geometry: Geometry) -> Tensor:
        """Convolve node features.

        Under autocast, too, everything is computed in the weights' own precision: lower precision
        loses too much in sums over many products of different magnitude.

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
        with torch.autocast(x.device.type, enabled=False):
            return self.contraction(
                self._weights(), self._hidden, x.to(self.radial.layer1.weight.dtype), geometry
            )

    def of_species(self, table: Tensor, species: Tensor, geometry: Geometry) -> Tensor:
        """Convolve scalar features that all nodes of a species share.

        Parameters
        ----------
        table : Tensor
            [t, irreps_in.dim] features of each species; `irreps_in` must be ``0e`` alone.
        species : Tensor
            [n] int64, the row of `table` of each node.
        geometry : Geometry
            The batch's edges.

        Returns
        -------
        Tensor
            [n, irreps_out.dim], equal to ``forward(table[species])``.
        """
        with torch.autocast(table.device.type, enabled=False):
            table = table.to(self.radial.layer1.weight.dtype)
            weights = self._weights()
            species_messages = {
                self.irreps_out[path.block_out]: path.coefficient
                / self.neighbor_norm
                * (table @ weights[path].unflatten(1, (table.shape[1], -1)))
                for path in self.contraction.paths
            }
            return send_from_species(
                self.irreps_out, species_messages, self._hidden, species, geometry
            )

    def scalars(self, x: Tensor, geometry: Geometry, mixing: Tensor) -> Tensor:
        """Compute one linear combination of the scalar messages, and none of the others.

        Parameters
        ----------
        x : Tensor
            [n, irreps_in.dim].
        geometry : Geometry
            The batch's edges.
        mixing : Tensor
            [c, 1] coefficients of the c channels of ``0e`` in `irreps_out`.

        Returns
        -------
        Tensor
            [n, 1], the ``0e`` part of `forward` times `mixing`.
        """
        block = [ir for _, ir in self.irreps_out].index(o3.Irrep("0e"))
        scalar_paths = [path for path in self.contraction.paths if path.block_out == block]
        weights = self._weights()
        with torch.autocast(x.device.type, enabled=False):
            dtype = self.radial.layer1.weight.dtype
            mixing = mixing.to(dtype)
            mixed = {
                mixed_path: (weights[path].unflatten(1, (-1, len(mixing))) @ mixing).flatten(1)
                for mixed_path, path in zip(self.to_scalar.paths, scalar_paths)
            }
            return self.to_scalar(mixed, self._hidden, x.to(dtype), geometry)

    def _weights(self) -> dict[Path, Tensor]:
        """Each path's columns of the radial MLP's last layer, [k, mul_in * mul_out]."""
        paths = self.contraction.paths
        sizes = [path.num_weights for path in paths]
        return dict(zip(paths, self.radial.layer1.weight.split(sizes, dim=1)))

    def _hidden(self, radial: Tensor) -> Tensor:
        """Hidden layer of the radial MLP, [s, k], divided by the square root of its width."""
        layer = self.radial.layer0
        h = nn.functional.silu(radial @ (layer.weight / self.num_radial**0.5))
        scaled: Tensor = h * (layer.act.cst / self.radial_hidden**0.5)
        return scaled
