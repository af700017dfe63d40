"""Structures made with ASE, labelled by its EMT potential, and batches of them."""

from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from torch_geometric.data import Batch

from qm9.batching import MoleculeStore
from structures.cache import flatten
from structures.extxyz import Frame
from structures.graphs import radius_graphs


def labelled(atoms: Atoms) -> Atoms:
    """Keep ASE's EMT energy (eV) and forces (eV/angstrom) with a structure."""
    atoms.calc = EMT()
    found = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    atoms.calc = SinglePointCalculator(atoms, **found)
    return atoms


def rattled(like: Atoms, count: int, stdev: float = 0.1) -> list[Atoms]:
    """Displace the atoms of a structure at random, many times."""
    made = [like.copy() for _ in range(count)]
    for seed, atoms in enumerate(made):
        atoms.rattle(stdev, seed=seed)
    return made


def ethanol(count: int) -> list[Atoms]:
    """Rattled molecules with EMT labels."""
    return [labelled(atoms) for atoms in rattled(molecule("CH3CH2OH"), count, 0.05)]


def copper(count: int) -> list[Atoms]:
    """Rattled periodic crystals of four atoms with EMT labels."""
    return [labelled(atoms) for atoms in rattled(bulk("Cu", cubic=True), count, 0.08)]


def difficult() -> list[Atoms]:
    """Images of an atom as its own neighbours, atoms outside the cell, a slab, and a molecule."""
    outside = rattled(bulk("NaCl", "rocksalt", a=5.6), 1)[0]
    outside.positions[0] += 2 * outside.cell[0] - outside.cell[1]
    primitive, slab = rattled(bulk("Cu"), 1)[0], rattled(fcc111("Al", (1, 1, 2)), 1)[0]
    return [primitive, outside, slab, molecule("CH3CH2OH")]


def batch_of(structures: Sequence[Atoms], cutoff: float, dtype: torch.dtype) -> Batch:
    """Collate structures as the data module does, with y = 0."""
    data = flatten(
        [
            Frame(
                line=1,
                z=atoms.numbers.astype(np.uint8),
                pos=atoms.positions,
                cell=atoms.cell.array,
                periodic=atoms.pbc,
                energy=0.0,
                forces=None,
                split=-1,
            )
            for atoms in structures
        ]
    )
    graphs = radius_graphs(data, cutoff, str)
    store = MoleculeStore(
        data.z,
        data.pos.to(dtype),
        data.node_offsets,
        graphs.edges,
        graphs.offsets,
        data.energy,
        more={
            "edge_shift": ("edge", graphs.shifts),
            "reverse_step": ("edge", graphs.reverse_step),
            "cell": ("graph", data.cells.to(dtype)),
        },
    )
    return store[list(range(len(data)))]
