"""Molecular graphs from positions alone: chemical bonds and radius graphs.

May import NumPy and torch. Edges are local to a molecule, row 0 source j, row 1 target i, sorted by
target and then source.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

COVALENT_RADII = {1: 0.31, 6: 0.76, 7: 0.71, 8: 0.66, 9: 0.57}
"""Cordero et al. 2008 (doi:10.1039/b801115j), angstrom; carbon as sp3."""

BOND_TOLERANCE = 1.15
"""Two atoms are bonded if closer than this times the sum of their covalent radii."""

_PAIRS_AT_ONCE = 500_000


def bond_edges(pos: Tensor, z: Tensor, node_offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Chemical bonds of many molecules: ``d < 1.15 (r_i + r_j)``.

    Parameters
    ----------
    pos
        float [n, 3], angstrom.
    z
        uint8 or int64 [n], atomic numbers H C N O F.
    node_offsets
        int64 [mol + 1], first node of each molecule and the total.

    Returns
    -------
    edges
        int8 [2, e], local to each molecule.
    offsets
        int64 [mol + 1], first edge of each molecule and the total.
    """
    radii = torch.zeros(max(COVALENT_RADII) + 1, dtype=pos.dtype, device=pos.device)
    for number, radius in COVALENT_RADII.items():
        radii[number] = radius
    node_radii = radii[z.long()]

    def bonded(square: Tensor, nodes: Tensor) -> Tensor:
        r_mn = node_radii[nodes]
        return square < (BOND_TOLERANCE * (r_mn[:, :, None] + r_mn[:, None, :])) ** 2

    return _edges(pos, node_offsets, bonded)


def radius_edges(pos: Tensor, node_offsets: Tensor, cutoff: float) -> tuple[Tensor, Tensor]:
    """All ordered pairs of different atoms of one molecule at most `cutoff` apart.

    Parameters
    ----------
    pos
        float [n, 3], angstrom.
    node_offsets
        int64 [mol + 1], first node of each molecule and the total.
    cutoff
        Largest distance, angstrom.

    Returns
    -------
    edges
        int8 [2, e], local to each molecule.
    offsets
        int64 [mol + 1], first edge of each molecule and the total.
    """
    return _edges(pos, node_offsets, lambda square, _: square <= cutoff * cutoff)


def _edges(
    pos: Tensor, node_offsets: Tensor, connected: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Edges where `connected(squared distances [b, m, m], nodes [b, m])` holds.

    Molecules are taken in groups of the same size m, as dense [b, m, m] blocks: no index
    arithmetic a pair, and no padding.
    """
    sizes = node_offsets.diff()
    counts = torch.zeros_like(sizes)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for size in torch.unique(sizes).tolist():
        group = torch.nonzero(sizes == size)[:, 0]
        for molecules in group.split(max(1, _PAIRS_AT_ONCE // max(1, size * size))):
            nodes = node_offsets[molecules, None] + torch.arange(size, device=pos.device)
            mask = connected(_square_distances(pos[nodes]), nodes)
            mask.diagonal(dim1=1, dim2=2).fill_(False)
            counts[molecules] = mask.sum((1, 2))
            _, target, source = mask.nonzero(as_tuple=True)
            found.append((molecules, source.to(torch.int8), target.to(torch.int8)))
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    edges = torch.empty(2, int(offsets[-1]), dtype=torch.int8, device=pos.device)
    for molecules, source, target in found:
        where = ranges(offsets[molecules], counts[molecules])
        edges[0, where] = source
        edges[1, where] = target
    return edges, offsets


def _square_distances(pos_bmd: Tensor) -> Tensor:
    """Squared distances [b, m, m], summed by component: no [b, m, m, 3] intermediate."""
    square = None
    for x_bm in pos_bmd.unbind(-1):
        difference = x_bm[:, :, None] - x_bm[:, None, :]
        square = difference.square_() if square is None else square.addcmul_(difference, difference)
    assert square is not None  # three components
    return square


def spread(values: Tensor, lengths: Tensor, total: int | None = None) -> Tensor:
    """Repeat each value `length` times: `torch.repeat_interleave`, fit for many small calls.

    Parameters
    ----------
    values, lengths
        int64 [g].
    total
        Sum of `lengths` where the caller knows it: then nothing waits for the device.

    Returns
    -------
    Tensor
        int64 [sum of lengths].
    """
    if values.device.type == "cpu":
        # torch wakes all its threads even for ten values; beside another process that takes
        # milliseconds.
        return torch.from_numpy(np.repeat(values.numpy(), lengths.numpy()))
    return torch.repeat_interleave(values, lengths, output_size=total)


def ranges(starts: Tensor, lengths: Tensor, total: int | None = None) -> Tensor:
    """Concatenate ``arange(start, start + length)`` over all pairs.

    Parameters
    ----------
    starts, lengths, total
        As for `spread`.

    Returns
    -------
    Tensor
        int64 [sum of lengths].
    """
    shift = spread(starts - (lengths.cumsum(0) - lengths), lengths, total)
    return shift.add_(torch.arange(shift.shape[0], device=starts.device))
