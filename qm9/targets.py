"""The targets of QM9: names, units, and how they are computed from the CSV's properties.

Imports NumPy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HARTREE_TO_EV = 27.211386246
"""The conversion that PyG's QM9 uses (CODATA 2018 to eleven digits)."""

ELEMENTS = (1, 6, 7, 8, 9)
"""Atomic numbers that occur in QM9, in the order of the values in `ATOM_REFERENCES`."""

ATOM_REFERENCES: Mapping[str, tuple[float, ...]] = {
    "U0": (-0.500273, -37.846772, -54.583861, -75.064579, -99.718730),
    "U": (-0.498857, -37.844411, -54.582501, -75.063219, -99.717370),
    "H": (-0.497912, -37.843468, -54.581557, -75.062275, -99.716426),
    "G": (-0.510927, -37.861317, -54.598897, -75.079532, -99.733544),
}
"""Energies of the free atoms H, C, N, O and F in hartree: atomref.txt of the QM9 publication."""

DFT = "B3LYP/6-31G(2df,p)"
"""Level of theory of QM9's own properties."""

GFN2_XTB = "GFN2-xTB"
"""Level of theory of computed targets (doi:10.1021/acs.jctc.8b01176)."""


@dataclass(frozen=True)
class Target:
    """What a network learns to predict.

    Attributes
    ----------
    name : str
        Name as in PyG's QM9, e.g. ``U0``.
    unit : str
        Unit of ``y`` in batches and of the target's mean and standard deviation, e.g. ``eV``.
    reporting_unit : str
        Unit of reported errors, e.g. ``meV``.
    reporting_factor : float
        ``value[reporting_unit] = reporting_factor * value[unit]``.
    rank : int
        0 for a scalar, 1 for a vector, 2 for a traceless symmetric tensor. A norm is a scalar.
    description : str
        The target in words.
    method : str
        Level of theory, e.g. ``GFN2-xTB``.
    """

    name: str
    unit: str
    reporting_unit: str
    reporting_factor: float
    rank: int
    description: str
    method: str = DFT

    @property
    def irrep(self) -> str:
        """Irrep of the target, natural parity: ``0e``, ``1o`` or ``2e``."""
        return ("0e", "1o", "2e")[self.rank]

    @property
    def components(self) -> tuple[str, ...]:
        """Names of the components, in the order of ``y``; empty for a scalar.

        Those of a tensor are e3nn's for l = 2, see `qm9.tensors.spherical_components`.
        """
        return ((), ("x", "y", "z"), ("xz", "xy", "yy", "yz", "zz-xx"))[self.rank]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one molecule's target: () for a scalar, (3,) or (5,)."""
        return (len(self.components),) if self.rank else ()

    @property
    def kind(self) -> str:
        """The rank in a word: scalar, vector or tensor."""
        return ("scalar", "vector", "tensor")[self.rank]


def _energy(name: str, description: str) -> Target:
    return Target(name, "eV", "meV", 1000.0, 0, description)


SCALARS: Mapping[str, Target] = {
    target.name: target
    for target in (
        _energy("U0", "atomization energy at 0 K"),
        _energy("U", "atomization energy at 298.15 K"),
        _energy("H", "atomization enthalpy at 298.15 K"),
        _energy("G", "atomization free energy at 298.15 K"),
        _energy("homo", "energy of the highest occupied molecular orbital"),
        _energy("lumo", "energy of the lowest unoccupied molecular orbital"),
        _energy("gap", "difference between the energies of lumo and homo"),
        _energy("zpve", "zero-point vibrational energy"),
        Target("mu", "D", "D", 1.0, 0, "norm of the dipole moment"),
        Target("alpha", "a0^3", "a0^3", 1.0, 0, "isotropic polarizability"),
        Target("r2", "a0^2", "a0^2", 1.0, 0, "electronic spatial extent"),
        Target("cv", "cal/(mol K)", "cal/(mol K)", 1.0, 0, "heat capacity at 298.15 K"),
        Target(
            "alpha_aniso",
            "a0^3",
            "a0^3",
            1.0,
            0,
            "Frobenius norm of the traceless part of the polarizability tensor",
        ),
    )
}
"""Scalars that follow from the CSV's properties: the columns of the prepared data."""

CHARGE_DIPOLE = Target(
    "charge_dipole", "D", "D", 1.0, 1, "dipole moment of the Mulliken charges (vector)"
)
"""Sum of charge times position; the charges are QM9's own."""

XTB_ENERGY = Target(
    "xtb_energy", "eV", "meV", 1000.0, 0, "total energy by GFN2-xTB, with forces", GFN2_XTB
)
"""Its batches have the forces on the atoms as well, so that `model.force_weight` can be used."""

COMPUTED: Mapping[str, Target] = {
    target.name: target
    for target in (
        XTB_ENERGY,
        Target("dipole", "D", "D", 1.0, 1, "dipole moment by GFN2-xTB (vector)", GFN2_XTB),
        Target(
            "quadrupole",
            "D angstrom",
            "D angstrom",
            1.0,
            2,
            "traceless quadrupole moment about the centre of mass by GFN2-xTB (tensor)",
            GFN2_XTB,
        ),
    )
}
"""Targets that `qm9.xtb` computes for the molecules that are asked for."""

TARGETS: Mapping[str, Target] = {**SCALARS, CHARGE_DIPOLE.name: CHARGE_DIPOLE, **COMPUTED}
"""All targets of QM9's molecules."""

ATOMIZATION_ENERGIES = tuple(ATOM_REFERENCES)
"""Targets whose variance is almost all due to the molecules' composition."""

EXTENSIVE_ENERGIES = (*ATOMIZATION_ENERGIES, XTB_ENERGY.name)
"""Energies whose variance is almost all due to composition, by all methods."""

INTENSIVE = ("homo", "lumo", "gap", "mu", "alpha_aniso")
"""Targets that do not grow with the molecule."""


def get_target(name: str) -> Target:
    """Look up a target by its name.

    Parameters
    ----------
    name : str
        Key of `TARGETS`.

    Raises
    ------
    ValueError
        If there is no such target; lists those that exist.
    """
    if name not in TARGETS:
        raise ValueError(f"target {name!r} is unknown: choose one of {', '.join(TARGETS)}")
    return TARGETS[name]


def anisotropy(polarizability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the Frobenius norm of the traceless part of symmetric 3x3 tensors.

    ``||A - tr(A)/3 I||_F`` is invariant under rotation. This matters because the CSV's tensors are
    in another frame than its coordinates.

    Parameters
    ----------
    polarizability : array
        [mol, 6], columns xx, xy, yy, xz, yz, zz in a0^3.

    Returns
    -------
    array
        [mol] in a0^3.
    """
    xx, xy, yy, xz, yz, zz = polarizability.T
    mean = (xx + yy + zz) / 3
    diagonal = (xx - mean) ** 2 + (yy - mean) ** 2 + (zz - mean) ** 2
    norm: NDArray[np.float64] = np.sqrt(diagonal + 2 * (xy**2 + xz**2 + yz**2))
    return norm


def compute_targets(
    properties: Mapping[str, NDArray[np.float64]],
    polarizability: NDArray[np.float64],
    composition: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Compute the scalar targets of all molecules, in the units of `SCALARS`.

    Parameters
    ----------
    properties : mapping of str to array
        [mol] by target name, in the CSV's units: hartree for the total energies U0, U, H and G and
        for homo, lumo, gap and zpve; D, a0^3, a0^2 and cal/(mol K) for mu, alpha, r2 and cv.
    polarizability : array
        [mol, 6], columns xx, xy, yy, xz, yz, zz in a0^3.
    composition : array
        [mol, 5], the number of atoms of each of `ELEMENTS`.

    Returns
    -------
    array
        [mol, target], columns in the order of `SCALARS`.
    """
    columns = []
    for target in SCALARS.values():
        if target.name == "alpha_aniso":
            columns.append(anisotropy(polarizability))
            continue
        values = properties[target.name]
        if target.name in ATOM_REFERENCES:
            values = values - composition @ np.array(ATOM_REFERENCES[target.name])
        columns.append(values * HARTREE_TO_EV if target.unit == "eV" else values)
    return np.stack(columns, axis=1)
