"""What the targets of QM9 are, in words.

Imports nothing of the project.
"""

from __future__ import annotations

from collections.abc import Mapping

DESCRIPTIONS: Mapping[str, str] = {
    "U0": "atomization energy at 0 K",
    "U": "atomization energy at 298.15 K",
    "H": "atomization enthalpy at 298.15 K",
    "G": "atomization free energy at 298.15 K",
    "homo": "energy of the highest occupied molecular orbital",
    "lumo": "energy of the lowest unoccupied molecular orbital",
    "gap": "difference between the energies of lumo and homo",
    "zpve": "zero-point vibrational energy",
    "mu": "norm of the dipole moment",
    "alpha": "isotropic polarizability",
    "r2": "electronic spatial extent",
    "cv": "heat capacity at 298.15 K",
    "alpha_aniso": "Frobenius norm of the traceless part of the polarizability tensor",
    "charge_dipole": "dipole moment of the Mulliken charges (vector)",
    "xtb_energy": "total energy by GFN2-xTB, with forces",
    "dipole": "dipole moment by GFN2-xTB (vector)",
    "quadrupole": "traceless quadrupole moment about the centre of mass by GFN2-xTB (tensor)",
}
"""Description of each target by its name, as in `qm9.targets`."""


def describe_target(name: str) -> str:
    """Describe a target; empty if the name is not one of QM9's."""
    return DESCRIPTIONS.get(name, "")
