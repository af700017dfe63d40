"""One structure of 128 to 16,384 atoms: reading it, finding its edges, and a training step.

May import everything but the programs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.io import write
from torch_geometric.data import Batch

from benchmarks.scale.costs import Meter
from lightning_modules.extxyz_datamodule import ExtXYZDataModule
from networks.convnet import EquivariantConvNet
from networks.gated import GatedNetwork
from networks.restrictable import RestrictableNetwork

CUTOFF = 5.0
"""Angstrom: 42 neighbours of every atom of copper."""
IRREPS = "8x0e+8x1o+8x2e"
LAYERS = 3
ATOMS_PER_CELL = 4


def crystal(num_atoms: int) -> Atoms:
    """Make a periodic crystal of copper with displaced atoms.

    Parameters
    ----------
    num_atoms : int
        4 times a power of 2.

    Raises
    ------
    ValueError
        If it is another number.
    """
    cells = num_atoms // ATOMS_PER_CELL
    if cells * ATOMS_PER_CELL != num_atoms or cells & (cells - 1):
        raise ValueError(f"{num_atoms} atoms are no crystal: give 4 times a power of 2")
    power = cells.bit_length() - 1
    repeats = tuple(2 ** ((power + axis) // 3) for axis in range(3))
    atoms: Atoms = bulk("Cu", cubic=True) * repeats
    atoms.rattle(0.1, seed=0)
    return atoms


def _data(meter: Meter, folder: Path) -> ExtXYZDataModule:
    """Write a file of one structure, to be read."""
    atoms = crystal(meter.size)
    atoms.info["energy"] = 0.0
    atoms.arrays["forces"] = np.zeros((meter.size, 3))
    path = folder / "structure.extxyz"
    write(path, atoms)
    return ExtXYZDataModule(
        str(path), cutoff=CUTOFF, cache_dir=str(folder / "cache"), evaluate_only=True
    )


def measure_reading(meter: Meter, folder: Path) -> None:
    """Measure what happens to a structure before it enters a network."""
    _data(Meter("", ATOMS_PER_CELL, 0, []), folder).setup()  # imports what reading needs
    data = _data(meter, folder)
    meter.measure("reading the file", data.prepare_data)
    data.load()
    meter.measure("finding edges", data.setup)
    meter.measure("collating", lambda: data.batch([0]))


def measure_convnet(meter: Meter, folder: Path) -> None:
    """Measure a training step of the published network."""
    _measure_step(meter, folder, EquivariantConvNet(IRREPS, num_layers=LAYERS, cutoff=CUTOFF))


def measure_gated(meter: Meter, folder: Path) -> None:
    """Measure a training step of the gated network."""
    network = GatedNetwork(IRREPS, num_layers=LAYERS, cutoff=CUTOFF, num_elements=30)
    _measure_step(meter, folder, network)


def _measure_step(meter: Meter, folder: Path, network: RestrictableNetwork) -> None:
    data = _data(meter, folder)
    data.setup()
    batch = data.batch([0])
    few = _data(Meter("", 128, 0, []), folder)
    few.setup()
    small = few.batch([0])
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)

    def step(of: Batch) -> None:
        optimizer.zero_grad(set_to_none=True)
        network(of).square().mean().backward()
        optimizer.step()

    step(small)  # compiles loops and starts autograd's threads
    meter.measure("training step", lambda: step(batch))
