import itertools

import numpy as np
import pytest
from ase import Atoms

from structures.neighbors import neighbor_edges
from tests.structures.made import difficult


def brute_force(atoms: Atoms, cutoff: float) -> set[tuple[int, ...]]:
    """Try every image of every atom."""
    images = [range(-6, 7) if periodic else [0] for periodic in atoms.pbc]
    found = set()
    for i, j, shift in itertools.product(
        range(len(atoms)), range(len(atoms)), itertools.product(*images)
    ):
        r = atoms.positions[j] - atoms.positions[i] + np.array(shift) @ atoms.cell.array
        if (i != j or any(shift)) and np.linalg.norm(r) < cutoff:
            found.add((j, i, *shift))
    return found


@pytest.mark.parametrize("atoms", difficult(), ids=str)
def test_edges_are_those_that_a_search_of_all_images_finds(atoms: Atoms):
    edges = neighbor_edges(atoms.positions, atoms.cell.array, atoms.pbc, 4.7)
    found = [(*map(int, ends), *map(int, s)) for ends, s in zip(edges.index.T, edges.shifts)]
    assert len(set(found)) == len(found)
    assert set(found) == brute_force(atoms, 4.7)
    assert (np.diff(edges.index[1]) >= 0).all()
    assert (edges.index[:, edges.reverse] == edges.index[::-1]).all()
    assert (edges.shifts[edges.reverse] == -edges.shifts).all()


@pytest.mark.parametrize(
    ("pos", "cell", "periodic", "words"),
    [
        (np.zeros((2, 3)), np.zeros((3, 3)), False, "atoms 1 and 2 are 0 angstrom apart"),
        (np.zeros((1, 3)), np.eye(3) * 0.2, True, "atom 1 and its image are 0.2 angstrom apart"),
        (np.zeros((1, 3)), np.eye(3) * 1e-3, True, r"about 2e\+12 edges"),
        (np.random.default_rng(0).random((9000, 3)), np.eye(3), False, r"about 8e\+07 edges"),
    ],
)
def test_what_would_fill_the_memory_or_has_no_distances_is_refused(pos, cell, periodic, words):
    with pytest.raises(ValueError, match=words):
        neighbor_edges(pos, cell, np.array([periodic] * 3), 6.0)
