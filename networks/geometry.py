"""Everything about a batch that depends on positions and edges alone, not on weights.

Computed once a batch and shared by all layers. Imports NumPy, torch and e3nn only.
"""

from __future__ import annotations

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
    """Positions and graph of a batch, expanded on harmonics and radial functions.

    Attributes
    ----------
    z : Tensor
        [n] int64 atomic numbers.
    edge_index : Tensor
        [2, e] int64; row 0 the source j, row 1 the target i.
    vectors : Tensor
        [e, 3] r = pos[j] - pos[i], angstrom.
    lengths : Tensor
        [e] distance, angstrom.
    batch : Tensor
        [n] int64, the graph of each node.
    num_nodes, num_graphs : int
        Sizes, known on the host.
    edge_irreps : o3.Irreps
        Degrees of the harmonics, each once.
    num_radial : int
        Number of radial functions.
    cutoff : float
        Length over which they are defined, angstrom.
    neighbor_counts : array or None
        [n] edges into every node, on the host. Also a promise: the edges are sorted by target,
        then source, and each has its reverse. Then nothing is ever read back from the device.
    num_idle : int
        The last so many nodes are padding, and so are all edges between them, which must be as
        long as the cutoff. `neighbor_counts` are upper bounds then, descending, of the busiest
        node's edges, the next one's and so on, so that shapes depend on nothing else.
    elements : Tensor or None
        [t] int64, ascending: atomic numbers of which all nodes' are some.
    shared : dict
        What a convolution derives from the above once and uses in every layer.
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
    num_idle: int = 0
    elements: Tensor | None = None
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
    """Vectors from target to source, r = pos[j] - pos[i].

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


def edge_harmonics(vectors: Tensor, irreps: o3.Irreps) -> Tensor:
    """Spherical harmonics of the normalized vectors, ``integral`` normalization.

    Parameters
    ----------
    vectors : Tensor
        [e, 3].
    irreps : o3.Irreps
        Each degree once, natural parity.

    Returns
    -------
    Tensor
        [e, m]; the integral of Y^2 over the sphere is 1.
    """
    return o3.spherical_harmonics(irreps, vectors, normalize=True, normalization="integral")


def radial_basis(lengths: Tensor, num_radial: int, cutoff: float) -> Tensor:
    """Bessel functions on [0, cutoff], times sqrt(num_radial).

    B_k(r) = sqrt(2 / cutoff) sin(k pi r / cutoff) / r for 0 < r < cutoff, otherwise 0.

    Parameters
    ----------
    lengths : Tensor
        [e], angstrom.
    num_radial : int
        Number of functions.
    cutoff : float
        angstrom.

    Returns
    -------
    Tensor
        [e, k].
    """
    basis = soft_one_hot_linspace(
        lengths, start=0.0, end=cutoff, number=num_radial, basis="bessel", cutoff=True
    )
    return basis * num_radial**0.5
