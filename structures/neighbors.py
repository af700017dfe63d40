"""Neighbours within a cutoff, periodic images included.

Imports NumPy, SciPy and vesin only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from vesin import NeighborList

MAX_EDGES = 20_000_000
"""Largest estimate of a structure's edges for which neighbours are searched, a few GB."""
FEW_PAIRS = 1_000_000
"""Structures with fewer candidate pairs need no estimate."""
MIN_DISTANCE = 0.3
"""Angstrom. No two atoms are as close as this; half the bond length of H2."""


@dataclass(frozen=True)
class Edges:
    """The edges of one structure, sorted by target, then source, then cell shift.

    Attributes
    ----------
    index : array
        [2, e] int32, row 0 the source j, row 1 the target i.
    shifts : array
        [e, 3] int32. The edge's vector is pos[j] - pos[i] + shift @ cell.
    reverse : array
        [e] int32, the position of every edge's reverse: from i to j with the opposite vector.
    """

    index: NDArray[np.int32]
    shifts: NDArray[np.int32]
    reverse: NDArray[np.int32]


def neighbor_edges(
    pos: NDArray[np.float64],
    cell: NDArray[np.float64],
    periodic: NDArray[np.bool_],
    cutoff: float,
) -> Edges:
    """Find all ordered pairs of an atom and another atom, or an image of any atom, within `cutoff`.

    Parameters
    ----------
    pos : array
        [n, 3] float64, angstrom; atoms may lie outside the cell.
    cell : array
        [3, 3] float64, vectors in rows, angstrom.
    periodic : array
        [3] bool.
    cutoff : float
        Angstrom.

    Raises
    ------
    ValueError
        If two atoms overlap, or there would be too many edges. The message is the end of a
        sentence that begins with the name of the structure.
    """
    _check_size(pos, cell, periodic, cutoff)
    box = cell if periodic.any() else np.zeros((3, 3))
    search = NeighborList(cutoff=cutoff, full_list=False, n_threads=1)
    i, j, half_shifts, lengths = search.compute(pos, box, periodic.tolist(), "ijSd")
    _check_overlaps(i, j, lengths)
    target = np.concatenate([i, j]).astype(np.int64)
    source = np.concatenate([j, i]).astype(np.int64)
    shifts = np.concatenate([half_shifts, -half_shifts]).astype(np.int64)
    order = np.argsort(_keys(target, source, shifts, len(pos)))
    target, source, shifts = target[order], source[order], shifts[order]
    # Sorted by the keys of their reverses, the k-th edge is the reverse of the k-th one.
    reverse = np.argsort(_keys(source, target, -shifts, len(pos)))
    return Edges(
        np.stack([source, target]).astype(np.int32),
        shifts.astype(np.int32),
        reverse.astype(np.int32),
    )


def _keys(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    shifts: NDArray[np.int64],
    num_atoms: int,
) -> NDArray[np.int64]:
    """Turn triples (first, second, shift) into numbers in the same lexicographic order."""
    most = int(np.abs(shifts).max(initial=0))
    width = 2 * most + 1
    keys = first * num_atoms + second
    for axis in range(3):
        keys = keys * width + (shifts[:, axis] + most)
    return keys


def _check_overlaps(
    i: NDArray[np.integer], j: NDArray[np.integer], lengths: NDArray[np.float64]
) -> None:
    if len(lengths) == 0 or lengths.min() >= MIN_DISTANCE:
        return
    pair = int(lengths.argmin())
    first, second = sorted((int(i[pair]) + 1, int(j[pair]) + 1))
    whom = f"atoms {first} and {second} are" if first != second else f"atom {first} and its image"
    raise ValueError(
        f"{whom} {'' if first != second else 'are '}{lengths[pair]:.2g} angstrom apart: atoms "
        "overlap; correct or remove this frame"
    )


def _check_size(
    pos: NDArray[np.float64],
    cell: NDArray[np.float64],
    periodic: NDArray[np.bool_],
    cutoff: float,
) -> None:
    """Estimate the number of edges before any memory is taken for them."""
    images = float(np.prod([1 + 2 * cutoff / height for height in _heights(cell, periodic)]))
    count = len(pos)
    if count * count * images <= FEW_PAIRS:
        return
    estimate = images * max(count, int(_count_pairs(pos, cutoff)))
    if estimate > MAX_EDGES:
        raise ValueError(
            f"it has about {estimate:.1g} edges within {cutoff:g} angstrom, more than "
            f"{MAX_EDGES:.0e}: correct its cell and positions, cut a smaller structure out of it, "
            "or give a smaller --model.cutoff"
        )


def _count_pairs(pos: NDArray[np.float64], cutoff: float) -> int:
    tree = cKDTree(pos)
    return int(tree.count_neighbors(tree, cutoff))


def _heights(cell: NDArray[np.float64], periodic: NDArray[np.bool_]) -> list[float]:
    """Distances between the planes that repeat, along each periodic direction; angstrom."""
    vectors = cell[periodic]
    if len(vectors) == 0:
        return []
    # The rows of the pseudoinverse's transpose are normal to the planes of the other vectors.
    normals = np.linalg.pinv(vectors).T
    return [1 / float(np.linalg.norm(normal)) for normal in normals]
