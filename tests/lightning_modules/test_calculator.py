from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import molecule
from ase.md.verlet import VelocityVerlet

from lightning_modules.calculator import IrrepscopeCalculator
from lightning_modules.regressor import EquivariantRegressor
from tests.structures.made import batch_of, copper

SMALL = {"irreps": "4x0e+4x1o", "num_layers": 2, "embedding_dim": 4, "num_elements": 30}
NETWORKS = ["convnet", "gated"]


def checkpoint(
    folder: Path, graph: str = "radius", unit: str | None = "eV", **options: Any
) -> Path:
    """Write a network with random weights, as trained on copper at -3 eV per atom."""
    torch.manual_seed(0)
    own = {"target": "energy" if unit else "mu", "unit": unit, "cutoff": 4.0}
    model = EquivariantRegressor(**{**SMALL, **own, **options})
    model.reference.weights.fill_(torch.nan)
    model.reference.weights[29] = -3.0
    model.reference.std.fill_(0.5)
    path = folder / "best.ckpt"
    content = {
        "state_dict": model.state_dict(),
        "hyper_parameters": dict(model.hparams),
        "datamodule_hyper_parameters": {"graph": graph},
    }
    torch.save(content, path)
    return path


def crystal(network: str, folder: Path) -> Atoms:
    atoms: Atoms = copper(1)[0] * (2, 1, 1)
    atoms.calc = IrrepscopeCalculator(checkpoint(folder, network=network))
    return atoms


@pytest.mark.parametrize("network", NETWORKS)
def test_the_energy_is_the_networks_and_forces_and_stress_are_differences(network, tmp_path: Path):
    atoms = crystal(network, tmp_path)
    energy, forces, stress = (
        atoms.get_potential_energy(),
        atoms.get_forces(),
        atoms.get_stress(voigt=False),
    )
    inner = atoms.calc._module
    batch = batch_of([atoms], 4.0, torch.float64)
    batch.y = batch.y.double()
    assert energy == pytest.approx(float(inner.predict_target(batch)) / 1000)

    def energy_at(pos: Any, cell: Any) -> float:
        moved = Atoms(atoms.numbers, positions=pos, cell=cell, pbc=True, calculator=atoms.calc)
        return float(moved.get_potential_energy())

    h = 1e-5
    for atom, axis in ((0, 0), (3, 2), (6, 1)):
        step = np.zeros_like(atoms.positions)
        step[atom, axis] = h
        ends = [energy_at(atoms.positions + s * step, atoms.cell.array) for s in (1, -1)]
        assert forces[atom, axis] == pytest.approx(
            (ends[1] - ends[0]) / (2 * h), rel=1e-6, abs=1e-8
        )
    for i, j in ((0, 0), (1, 2)):
        ends = []
        for s in (h, -h):
            strain = np.eye(3)
            strain[i, j] += s / 2
            strain[j, i] += s / 2
            ends.append(energy_at(atoms.positions @ strain, atoms.cell.array @ strain))
        slope = (ends[0] - ends[1]) / (2 * h) / atoms.get_volume()
        assert stress[i, j] == pytest.approx(slope, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("network", NETWORKS)
def test_dynamics_without_a_thermostat_conserve_energy(network: str, tmp_path: Path):
    atoms = crystal(network, tmp_path)
    spread = np.sqrt(atoms.get_masses()[:, None] * units.kB * 600)
    atoms.set_momenta(np.random.default_rng(0).normal(size=(len(atoms), 3)) * spread)
    dynamics = VelocityVerlet(atoms, 2 * units.fs)
    totals, potentials = [], []
    for _ in range(200):
        dynamics.run(1)
        totals.append(atoms.get_total_energy() / len(atoms))
        potentials.append(atoms.get_potential_energy() / len(atoms))
    assert np.ptp(totals) < 0.02 * np.ptp(potentials)
    drift = np.polyfit(np.arange(200) * 0.002, totals, 1)[0]
    assert abs(drift) < 1e-3  # eV per atom and ps


def test_molecules_need_no_cell_and_a_single_atom_has_no_forces(tmp_path: Path):
    calculator = IrrepscopeCalculator(checkpoint(tmp_path))
    pair = Atoms("Cu2", positions=[(0, 0, 0), (0.3, 0, 2.4)], calculator=calculator)
    np.testing.assert_allclose(pair.get_forces().sum(axis=0), 0, atol=1e-10)
    single = Atoms("Cu", calculator=calculator)
    assert (single.get_forces() == 0).all()


def test_elements_that_were_not_trained_on_are_refused(tmp_path: Path):
    atoms = molecule("CO")
    atoms.calc = IrrepscopeCalculator(checkpoint(tmp_path))
    with pytest.raises(ValueError, match="not been trained on C: its elements are Cu"):
        atoms.get_potential_energy()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"graph": "bonds"}, "graphs of chemical bonds, on which an energy jumps"),
        ({"unit": None}, "predicts mu in D, which is no energy"),
    ],
)
def test_networks_without_a_smooth_energy_are_refused(tmp_path: Path, options, words):
    with pytest.raises(ValueError, match=words):
        IrrepscopeCalculator(checkpoint(tmp_path, **options))


def test_hartree_become_electronvolts(tmp_path: Path):
    pair = Atoms("Cu2", positions=[(0, 0, 0), (0, 0, 2.4)])
    pair.calc = IrrepscopeCalculator(checkpoint(tmp_path))
    ev, forces = pair.get_potential_energy(), pair.get_forces()
    pair.calc = IrrepscopeCalculator(checkpoint(tmp_path, unit="Ha"))
    assert pair.get_potential_energy() == pytest.approx(ev * units.Hartree)
    np.testing.assert_allclose(pair.get_forces(), forces * units.Hartree)
