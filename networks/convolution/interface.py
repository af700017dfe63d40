"""`Convolution`: what a network expects of a convolution layer, however it is computed.

Imports torch, e3nn and `networks.geometry` only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from e3nn import o3
from torch import Tensor, nn

from networks.geometry import Geometry


class Convolution(nn.Module, ABC):
    """Messages of a fully connected tensor product, summed at the target nodes.

    Attributes
    ----------
    irreps_out : o3.Irreps
        Irreps of the messages.
    """

    irreps_out: o3.Irreps

    @abstractmethod
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
        out: Tensor = self(table.index_select(0, species), geometry)
        return out

    def scalars(self, x: Tensor, geometry: Geometry, mixing: Tensor) -> Tensor:
        """Compute one linear combination of the scalar messages.

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
        messages: Tensor = self(x, geometry)
        return messages[:, self.irreps_out.slices()[block]] @ mixing
