"""Bonds by distance, counted by the elements that they join: what a baseline may know.

Imports NumPy, ASE's table of radii and this package only.
"""

from __future__ import annotations

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from structures.cache import StructureData
from structures.graphs import Graphs

TOLERANCE = 1.15
"""Two atoms are bonded if they are closer than this times the sum of their covalent radii."""


def bond_counts(data: StructureData, graphs: Graphs) -> NDArray[np.int64]:
    """Count the bonds between every two elements.

    Parameters
    ----------
    data : StructureData
        Structures.
    graphs : Graphs
        Their radius graphs. Bonds longer than the cutoff are not counted.

    Returns
    -------
    array
        [g, kinds] int64, each bond counted from both ends.
    """
    num_edges = graphs.offsets.diff().numpy()
    structure = np.repeat(np.arange(len(data)), num_edges)
    first_node = data.node_offsets.numpy()[structure]
    source, target = graphs.edges.numpy() + first_node
    pos = data.pos.numpy()
    shifts = np.einsum("ei,eij->ej", graphs.shifts.numpy(), data.cells.numpy()[structure])
    lengths = np.linalg.norm(pos[source] - pos[target] + shifts, axis=1)
    z = data.z.numpy().astype(np.int64)
    ends = np.sort(np.stack([z[source], z[target]]), axis=0)
    bonded = lengths < TOLERANCE * covalent_radii[ends].sum(axis=0)
    kinds, kind = np.unique(ends[0, bonded] * 256 + ends[1, bonded], return_inverse=True)
    width = max(1, len(kinds))
    counts = np.bincount(structure[bonded] * width + kind, minlength=len(data) * width)
    return counts.reshape(len(data), width)
