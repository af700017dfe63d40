"""Molecular graphs from positions alone: chemical bonds and radius graphs.

Nodes are counted within their molecule. Row 0 of the edges is the source j, row 1 the target i, and
edges are sorted by target, then source. Imports NumPy and torch only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_Floats = NDArray[np.floating[Any]]
_Integers = NDArray[np.int64]
_Mask = NDArray[np.bool_]

COVALENT_RADII = {1: 0.31, 6: 0.76, 7: 0.71, 8: 0.66, 9: 0.57}
"""Cordero et al. 2008 (doi:10.1039/b801115j), angstrom; carbon as sp3."""

BOND_TOLERANCE = 1.15
"""Two atoms are bonded if they are closer than this times the sum of their covalent radii."""

_PAIRS_AT_ONCE = 500_000
"""Pairs of atoms per dense block: 4 MB, which fits a processor's cache."""


def bond_edges(pos: Tensor, z: Tensor, node_offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Find the chemical bonds of many molecules: ``d < 1.15 (r_i + r_j)``.

    Parameters
    ----------
    pos : Tensor
        [n, 3] float, angstrom.
    z : Tensor
        [n] uint8 or int64, atomic numbers of H, C, N, O and F.
    node_offsets : Tensor
        [mol + 1] int64, first node of each molecule and the total.

    Returns
    -------
    edges : Tensor
        [2, e] int8.
    offsets : Tensor
        [mol + 1] int64, first edge of each molecule and the total.
    """
    radii = np.zeros(max(COVALENT_RADII) + 1)
    for number, radius in COVALENT_RADII.items():
        radii[number] = radius
    node_radii = radii[z.numpy()]

    def bonded(square: _Floats, nodes: _Integers) -> _Mask:
        r_bm = node_radii[nodes]
        mask: _Mask = square < (BOND_TOLERANCE * (r_bm[:, :, None] + r_bm[:, None, :])) ** 2
        return mask

    return _edges(pos, node_offsets, bonded)


def radius_edges(pos: Tensor, node_offsets: Tensor, cutoff: float) -> tuple[Tensor, Tensor]:
    """Find all ordered pairs of different atoms of one molecule that are at most `cutoff` apart.

    Parameters
    ----------
    pos : Tensor
        [n, 3] float, angstrom.
    node_offsets : Tensor
        [mol + 1] int64, first node of each molecule and the total.
    cutoff : float
        Largest distance, angstrom.

    Returns
    -------
    edges : Tensor
        [2, e] int8.
    offsets : Tensor
        [mol + 1] int64, first edge of each molecule and the total.
    """
    return _edges(pos, node_offsets, lambda square, _: square <= cutoff * cutoff)


def _edges(
    pos: Tensor, node_offsets: Tensor, connected: Callable[[_Floats, _Integers], _Mask]
) -> tuple[Tensor, Tensor]:
    """Find the edges where `connected(squared distances [b, m, m], nodes [b, m])` holds.

    Molecules of the same size m are taken together, as dense [b, m, m] blocks that fit a cache:
    there is no index arithmetic for single pairs, and no padding. NumPy does it, because torch
    would wake all its threads for every block, which takes a hundred times longer if other
    processes use the cores.
    """
    pos_nd, offsets = pos.numpy(), node_offsets.numpy()
    sizes = np.diff(offsets)
    counts = np.zeros_like(sizes)
    found: list[tuple[_Integers, NDArray[np.int8], NDArray[np.int8]]] = []
    for size in np.unique(sizes).tolist():
        group = np.flatnonzero(sizes == size)
        step = max(1, _PAIRS_AT_ONCE // max(1, size * size))
        for molecules in np.split(group, range(step, len(group), step)):
            nodes = offsets[molecules, None] + np.arange(size)
            mask = connected(_square_distances(pos_nd[nodes]), nodes)
            mask &= ~np.eye(size, dtype=bool)
            counts[molecules] = mask.sum((1, 2))
            _, i, j = mask.nonzero()
            found.append((molecules, j.astype(np.int8), i.astype(np.int8)))
    edge_offsets = torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]))
    edges = torch.empty(2, int(edge_offsets[-1]), dtype=torch.int8)
    for molecules, source, target in found:
        where = ranges(edge_offsets[molecules], torch.from_numpy(counts[molecules])).numpy()
        edges.numpy()[0, where] = source
        edges.numpy()[1, where] = target
    return edges, edge_offsets


def _square_distances(pos_bmd: _Floats) -> _Floats:
    """Sum squared distances [b, m, m] component by component, without a [b, m, m, 3] array."""
    b, m, _ = pos_bmd.shape
    square = np.zeros((b, m, m), dtype=pos_bmd.dtype)
    for component in range(3):
        x_bm = pos_bmd[:, :, component]
        difference = x_bm[:, :, None] - x_bm[:, None, :]
        difference *= difference
        square += difference
    return square


def spread(values: Tensor, lengths: Tensor, total: int | None = None) -> Tensor:
    """Repeat each value `length` times, as `torch.repeat_interleave`, but fast for short tensors.

    Parameters
    ----------
    values, lengths : Tensor
        [g] int64.
    total : int, optional
        Sum of `lengths`. If it is given, the host need not wait for the device to compute it.

    Returns
    -------
    Tensor
        [sum of lengths] int64.
    """
    if values.device.type == "cpu":
        # torch wakes all its threads even for ten values, which takes milliseconds if another
        # process uses the cores.
        return torch.from_numpy(np.repeat(values.numpy(), lengths.numpy()))
    return torch.repeat_interleave(values, lengths, output_size=total)


def ranges(starts: Tensor, lengths: Tensor, total: int | None = None) -> Tensor:
    """Concatenate ``arange(start, start + length)`` over all pairs.

    Parameters
    ----------
    starts, lengths : Tensor
        [g] int64.
    total : int, optional
        As for `spread`.

    Returns
    -------
    Tensor
        [sum of lengths] int64.
    """
    shift = spread(starts - (lengths.cumsum(0) - lengths), lengths, total)
    if shift.device.type == "cpu":
        shift.numpy()[:] += np.arange(len(shift))
        return shift
    return shift.add_(torch.arange(shift.shape[0], device=starts.device))
