"""Everything about a batch that depends on positions and edges alone, not on weights.

Computed once per batch and shared by all layers. Imports NumPy, torch and e3nn only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from e3nn import o3
from e3nn.math import soft_one_hot_linspace
from numpy.typing import NDArray
from torch import Tensor


@dataclass
class Geometry:
    """Positions and graph of a batch, expanded in spherical harmonics and radial functions.

    Attributes
    ----------
    z : Tensor
        [n] int64 atomic numbers.
    edge_index : Tensor
        [2, e] int64; row 0 holds the source j, row 1 the target i.
    vectors : Tensor
        [e, 3] r = pos[j] - pos[i], angstrom.
    lengths : Tensor
        [e] distance, angstrom.
    batch : Tensor
        [n] int64, the graph of each node.
    num_nodes, num_graphs : int
        Sizes, known on the host.
    edge_irreps : o3.Irreps
        Irreps of the spherical harmonics, each degree once.
    num_radial : int
        Number of radial functions.
    cutoff : float
        Length over which the radial functions are defined, angstrom.
    neighbor_counts : array or None
        [n] number of edges into each node, on the host. Giving it also promises that the edges are
        sorted by target, then source, and that each has its reverse. Then no layer has to read
        anything back from the device.
    num_padding_nodes : int
        How many nodes at the end are padding. Edges between them are padding too and must be at
        least as long as the cutoff. The descending `neighbor_counts` are then upper bounds: for
        the node with most edges, the one with second most and so on. All shapes follow from them.
    reverse : Tensor or None
        [e] int64, the position of each edge's reverse. In periodic structures several edges may
        join the same two nodes, or a node and its images, and only this tells which belong
        together.
    elements : Tensor or None
        [t] int64, ascending; contains every atomic number that occurs in the batch.
    shared : dict
        What a convolution derives from the attributes above once and uses in every layer.
    """

    z: Tensor
    edge_index: Tensor
    vectors: Tensor
    lengths: Tensor
    batch: Tensor
    num_nodes: int
    num_graphs: int
    edge_irreps: o3.Irreps
    num_radial: int
    cutoff: float
    neighbor_counts: NDArray[np.int64] | None = None
    num_padding_nodes: int = 0
    elements: Tensor | None = None
    reverse: Tensor | None = None
    shared: dict[Any, Any] = field(default_factory=dict)

    @cached_property
    def harmonics(self) -> Tensor:
        """[e, m] real spherical harmonics of the normalized vectors, all degrees in order."""
        return edge_harmonics(self.vectors, self.edge_irreps)

    @cached_property
    def radial(self) -> Tensor:
        """[e, k] radial basis times sqrt(k); zero at and beyond the cutoff."""
        return radial_basis(self.lengths, self.num_radial, self.cutoff)


def edge_vectors(pos: Tensor, edge_index: Tensor) -> Tensor:
    """Compute the vectors from target to source, r = pos[j] - pos[i].

    Parameters
    ----------
    pos : Tensor
        [n, 3] positions, angstrom.
    edge_index : Tensor
        [2, e] int64, sources and targets.

    Returns
    -------
    Tensor
        [e, 3], angstrom.
    """
    return pos.index_select(0, edge_index[0]) - pos.index_select(0, edge_index[1])


def cell_shifts(cell: Tensor, edge_shift: Tensor, graph: Tensor) -> Tensor:
    """Compute what periodic images add to the edges' vectors, S @ cell.

    Parameters
    ----------
    cell : Tensor
        [g, 3, 3] cell vectors in rows, angstrom.
    edge_shift : Tensor
        [e, 3] integers, how many cell vectors the source's image is away.
    graph : Tensor
        [e] int64, the structure of each edge.

    Returns
    -------
    Tensor
        [e, 3], angstrom, differentiable by `cell`.
    """
    shift = edge_shift.to(cell.dtype).unsqueeze(1)
    return (shift @ cell.index_select(0, graph)).squeeze(1)


def edge_harmonics(vectors: Tensor, edge_irreps: o3.Irreps) -> Tensor:
    """Compute spherical harmonics of the normalized vectors, ``integral`` normalization.

    Parameters
    ----------
    vectors : Tensor
        [e, 3].
    edge_irreps : o3.Irreps
        Each degree once, natural parity.

    Returns
    -------
    Tensor
        [e, m]. The integral of each Y^2 over the sphere is 1.
    """
    harmonics: Tensor = o3.spherical_harmonics(
        edge_irreps, vectors, normalize=True, normalization="integral"
    )
    return harmonics


def radial_basis(lengths: Tensor, num_radial: int, cutoff: float) -> Tensor:
    """Compute Bessel functions on [0, cutoff], times sqrt(num_radial).

    B_k(r) = sqrt(2 / cutoff) sin(k pi r / cutoff) / r for 0 < r < cutoff, otherwise 0.

    Parameters
    ----------
    lengths : Tensor
        [e], angstrom.
    num_radial : int
        Number of functions.
    cutoff : float
        In angstrom.

    Returns
    -------
    Tensor
        [e, k].
    """
    basis: Tensor = soft_one_hot_linspace(
        lengths, start=0.0, end=cutoff, number=num_radial, basis="bessel", cutoff=True
    )
    return basis * math.sqrt(num_radial)
