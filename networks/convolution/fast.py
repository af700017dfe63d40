"""The published convolution without per-edge weights: the same function, many times faster.

Imports torch, e3nn and this package only.
"""

from __future__ import annotations

import torch
from e3nn import nn as e3nn_nn
from e3nn import o3
from torch import Tensor, nn

from networks.convolution.clebsch_gordan import Path
from networks.convolution.contraction import LayerContraction
from networks.convolution.interface import Convolution
from networks.convolution.species import send_from_species
from networks.geometry import Geometry


class FastConvolution(Convolution):
    """The function, parameters and state dict of `E3nnConvolution`, contracted in another order.

    The radial MLP's last layer is linear, so an edge's weights are W_e[p, u, w] =
    sum_k h_e[k] B_p[k, u, w] / sqrt(K) with h_e = c silu(basis w_0 / sqrt(num_radial)), c being
    e3nn's normalization of SiLU, and

        out_i[w, m3] = (1 / norm) sum_p c_p sum_j sum_k h_ij[k] sum_u B_p[k, u, w]
                       sum_m1 Gamma_p,ij[m1, m3] x_j[u, m1],    Gamma_p = sum_m2 C_p Y[m2]

    may be summed in any order. e3nn forms W_e for all edges at once (11,264 numbers an edge for
    three degrees of 32 channels) and keeps it for the backward pass; `LayerContraction` says what
    is done here. Two layers have less to do: the first one's features are the same for all atoms
    of an element (`of_species`), and of the last one's only one linear combination of scalars is
    asked for (`scalars`).

    Everything is a constant or a float64 table rounded once to the features' dtype, so results
    agree with e3nn's to rounding in float64 too. (e3nn rounds its 3j symbols to the default
    dtype when a layer is built: a float64 network made by ``.double()`` from a float32 one then
    differs by 1e-10 to 5e-9 wherever three degrees above 0 meet, while one built under a float64
    default does not. `E3nnConvolution` recomputes them.)

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

        Parameters
        ----------
        x : Tensor
            [n, irreps_in.dim].
        geometry : Geometry
            The batch's edges.

        Returns
        -------
        Tensor
            [n, irreps_out.dim]. Under autocast too everything here is computed in the weights'
            own precision: sums over many products of different size do not bear less.
        """
        with torch.autocast(x.device.type, enabled=False):
            return self.contraction(
                self._weights(), self._hidden, x.to(self.radial.layer1.weight.dtype), geometry
            )

    def scalars(self, x: Tensor, geometry: Geometry, mixing: Tensor) -> Tensor:
        """One linear combination of the scalar messages, without computing the others.

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
            [n, 1] ``0e`` part of `forward` times `mixing`.
        """
        block = [ir for _, ir in self.irreps_out].index(o3.Irrep("0e"))
        to_block = [path for path in self.contraction.paths if path.block_out == block]
        weights = self._weights()
        with torch.autocast(x.device.type, enabled=False):
            dtype = self.radial.layer1.weight.dtype
            mixed = {
                one: (weights[path].unflatten(1, (-1, mixing.shape[0])) @ mixing.to(dtype)).flatten(
                    1
                )
                for one, path in zip(self.to_scalar.paths, to_block)
            }
            return self.to_scalar(mixed, self._hidden, x.to(dtype), geometry)

    def of_species(self, table: Tensor, species: Tensor, geometry: Geometry) -> Tensor:
        """Convolve scalar features that all nodes of a species share.

        Parameters
        ----------
        table : Tensor
            [t, irreps_in.dim] features of every species; `irreps_in` must be ``0e`` alone.
        species : Tensor
            [n] int64 row of `table` of every node.
        geometry : Geometry
            The batch's edges.

        Returns
        -------
        Tensor
            [n, irreps_out.dim], `forward` of ``table[species]``.
        """
        with torch.autocast(table.device.type, enabled=False):
            table = table.to(self.radial.layer1.weight.dtype)
            weights = self._weights()
            sent = {
                self.irreps_out[path.block_out]: path.coefficient
                / self.neighbor_norm
                * (table @ weights[path].unflatten(1, (table.shape[1], -1)))
                for path in self.contraction.paths
            }
            return send_from_species(self.irreps_out, sent, self._hidden, species, geometry)

    def _weights(self) -> dict[Path, Tensor]:
        """Every path's columns of the radial MLP's last layer, [k, mul_in * mul_out]."""
        paths = self.contraction.paths
        sizes = [path.num_weights for path in paths]
        return dict(zip(paths, self.radial.layer1.weight.split(sizes, dim=1)))

    def _hidden(self, radial: Tensor) -> Tensor:
        """Hidden layer of the radial MLP, [s, k], divided by the square root of its width."""
        layer = self.radial.layer0
        h = nn.functional.silu(radial @ (layer.weight / self.num_radial**0.5))
        return h * (layer.act.cst / self.radial_hidden**0.5)
