"""Neighbours in boxes of many cells, as ASE's own search finds them."""

from __future__ import annotations

import numpy as np
import pytest
from ase.neighborlist import primitive_neighbor_list

from benchmarks.scale.structures import crystal
from structures.neighbors import neighbor_edges

CUTOFF = 4.0


@pytest.mark.parametrize("periodic", [(True, True, True), (True, False, True), (False,) * 3])
def test_edges_of_a_large_box_are_those_of_ase(periodic: tuple[bool, ...]) -> None:
    atoms = crystal(2048)
    edges = neighbor_edges(atoms.positions, atoms.cell.array, np.array(periodic), CUTOFF)
    i, j, shifts = primitive_neighbor_list(
        "ijS", periodic, atoms.cell.array, atoms.positions, CUTOFF
    )
    found = np.column_stack([edges.index[1], edges.index[0], edges.shifts])
    expected = np.column_stack([i, j, shifts])
    assert len(found) > 2048 * 12
    assert (found == expected[np.lexsort(expected.T[::-1])]).all()
