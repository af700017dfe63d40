"""Paths of a channelwise tensor product, and how its inputs and outputs are laid out.

Imports torch, e3nn and this package only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate

import torch
from e3nn import o3
from torch import Tensor

from networks.convolution.clebsch_gordan import coupling
from networks.geometry import Geometry

HARMONICS_SCALE = math.sqrt(4 * math.pi)
"""From spherical harmonics in ``integral`` to those in ``component`` normalization."""

Triple = tuple[int, int, int]
"""Degrees of a path's input, edge and output."""


@dataclass(frozen=True)
class ChannelwisePath:
    """One path: input irrep times edge degree to output irrep, channel by channel.

    Attributes
    ----------
    irrep_in, irrep_out : str
        E.g. ``1o``.
    edge_degree : int
        Degree of the edges' harmonics, natural parity.
    channels : int
        Channels of the input irrep, which the output has as well.
    """

    irrep_in: str
    edge_degree: int
    irrep_out: str
    channels: int

    @cached_property
    def triple(self) -> Triple:
        """Degrees of input, edge and output."""
        return o3.Irrep(self.irrep_in).l, self.edge_degree, o3.Irrep(self.irrep_out).l


@dataclass(frozen=True)
class ChannelwisePaths:
    """All paths of one layer; those into one output irrep follow one another.

    Inputs [n, dim_in] and outputs [n, dim_out] are m-major: a block holds its 2 l + 1 components
    one after the other, each with all channels. The channels of an output block are those of all
    paths into it. Radial weights [.., num_weights] hold a path's channels one path after the other.

    Attributes
    ----------
    irreps_in : tuple of (str, int)
        Irreps and channels of the input.
    paths : tuple of ChannelwisePath
        Sorted by output irrep.
    """

    irreps_in: tuple[tuple[str, int], ...]
    paths: tuple[ChannelwisePath, ...]

    @cached_property
    def num_weights(self) -> int:
        """Radial weights per edge."""
        return sum(path.channels for path in self.paths)

    @cached_property
    def irreps_out(self) -> dict[str, int]:
        """Output irreps with the channels of all their paths."""
        channels: dict[str, int] = {}
        for path in self.paths:
            channels[path.irrep_out] = channels.get(path.irrep_out, 0) + path.channels
        return channels

    @cached_property
    def dim_in(self) -> int:
        """Columns of the input."""
        return sum(channels * o3.Irrep(name).dim for name, channels in self.irreps_in)

    @cached_property
    def dim_out(self) -> int:
        """Columns of the output."""
        return sum(channels * o3.Irrep(name).dim for name, channels in self.irreps_out.items())

    @cached_property
    def triples(self) -> tuple[Triple, ...]:
        """Degrees that occur, each once."""
        return tuple(dict.fromkeys(path.triple for path in self.paths))

    def split_in(self, x: Tensor) -> dict[str, Tensor]:
        """Cut an input into [n, 2 l + 1, c] by irrep."""
        return split_blocks(x, dict(self.irreps_in))

    def split_out(self, out: Tensor) -> dict[str, Tensor]:
        """Cut an output into [n, 2 l + 1, c] by irrep."""
        return split_blocks(out, self.irreps_out)


def split_blocks(x: Tensor, channels: Mapping[str, int]) -> dict[str, Tensor]:
    """Cut m-major features into blocks.

    Parameters
    ----------
    x : Tensor
        [n, dim].
    channels : mapping
        Irrep name to channels.

    Returns
    -------
    dict
        Irrep name to [n, 2 l + 1, c].
    """
    dims = {name: o3.Irrep(name).dim for name in channels}
    pieces = x.split([dims[name] * c for name, c in channels.items()], dim=1)
    return {
        name: piece.unflatten(1, (dims[name], c))
        for piece, (name, c) in zip(pieces, channels.items())
    }


def coupling_columns(triples: Sequence[Triple]) -> dict[Triple, slice]:
    """Find the columns of `coupling_matrices` that hold each triple's matrix.

    Parameters
    ----------
    triples : sequence of Triple
        Degrees.

    Returns
    -------
    dict
        Triple to columns, (2 l_out + 1) (2 l_in + 1) of them.
    """
    found: dict[Triple, slice] = {}
    start = 0
    for l_in, l_edge, l_out in triples:
        stop = start + (2 * l_in + 1) * (2 * l_out + 1)
        found[l_in, l_edge, l_out] = slice(start, stop)
        start = stop
    return found


def coupling_matrices(triples: tuple[Triple, ...], geometry: Geometry) -> Tensor:
    """Couple the harmonics of every edge: the matrix from an input to an output irrep.

    Gamma[e, (m_out, m_in)] = sqrt(2 l_out + 1) sum_m C[m_in, m, m_out] Y_e[m], with e3nn's 3j
    symbols C and harmonics Y in ``component`` normalization. Computed once per batch.

    Parameters
    ----------
    triples : tuple of Triple
        Degrees.
    geometry : Geometry
        The batch's edges.

    Returns
    -------
    Tensor
        [e, columns of all triples].
    """
    key = ("channelwise couplings", triples)
    if key not in geometry.shared:
        y = geometry.harmonics
        degrees = tuple(geometry.edge_irreps.ls)
        geometry.shared[key] = y @ _coupling_table(triples, degrees, y.dtype, y.device)
    matrices: Tensor = geometry.shared[key]
    return matrices


@cache
def _coupling_table(
    triples: tuple[Triple, ...],
    edge_degrees: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Matrix [m of all edge degrees, columns] from harmonics to couplings, copied there once."""
    columns = coupling_columns(triples)
    width = max((where.stop for where in columns.values()), default=0)
    sizes = [2 * degree + 1 for degree in edge_degrees]
    first = dict(zip(edge_degrees, accumulate(sizes, initial=0)))
    # Made in inference mode, it could not take part in autograd later.
    with torch.inference_mode(False):
        table = torch.zeros(sum(sizes), width, dtype=torch.float64)
        for (l_in, l_edge, l_out), where in columns.items():
            symbols = coupling(l_in, l_edge, l_out) * (HARMONICS_SCALE * math.sqrt(2 * l_out + 1))
            rows = slice(first[l_edge], first[l_edge] + 2 * l_edge + 1)
            table[rows, where] = symbols.permute(1, 2, 0).flatten(1)
        return table.to(dtype=dtype, device=device)
