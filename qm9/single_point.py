"""One molecule by GFN2-xTB: energy, dipole and quadrupole moment, forces.

GFN2-xTB is a semi-empirical tight-binding method (doi:10.1021/acs.jctc.8b01176); the package
`tblite` computes it. This module runs in worker processes. Imports NumPy and `qm9.tensors`; tblite
where it is used.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qm9.tensors import E_ANGSTROM_TO_DEBYE, spherical_components

METHOD = "GFN2-xTB"
ACCURACY = 0.001
"""Of the SCF, relative to tblite's default, whose dipoles are right to 6e-4 D only."""
MAX_ITERATIONS = 250
"""Of the SCF; tblite's default."""
BOHR = 0.529177210903
"""Angstrom (CODATA 2018)."""
HARTREE = 27.211386245988
"""eV (CODATA 2018)."""
MASSES = {1: 1.008, 6: 12.011, 7: 14.007, 8: 15.999, 9: 18.998403163}
"""Standard atomic weights, for the centre of mass."""

Molecule = tuple[NDArray[np.integer], NDArray[np.float64]]
"""Atomic numbers [n] and positions [n, 3] in angstrom."""


@dataclass(frozen=True)
class SinglePoint:
    """Results for one molecule.

    Attributes
    ----------
    energy : float
        Total energy, eV.
    dipole : array
        [3] in D, components x, y, z.
    quadrupole : array
        [3, 3] in D angstrom, traceless, about the centre of mass: sum of
        q (3 r r^T - r^2 I) / 2 over all charges (Buckingham's definition).
    forces : array
        [n, 3] in eV / angstrom.
    """

    energy: float
    dipole: NDArray[np.float64]
    quadrupole: NDArray[np.float64]
    forces: NDArray[np.float64]


def single_point(z: NDArray[np.integer], pos: NDArray[np.float64]) -> SinglePoint:
    r"""Compute a neutral molecule in its lowest closed-shell state.

    The moments are put together from tblite's atomic charges q, dipoles m and traceless quadrupoles
    T at the atoms' positions r:

        mu = sum q r + m,    Theta = sum traceless(q r r^T + m r^T + r m^T) + T,

    with traceless(S) = (3 S - tr(S) I) / 2. (The molecular quadrupole that tblite 0.8.0 returns
    counts the first part of its off-diagonal elements twice, but not the second: it does not turn
    with the molecule.)

    Parameters
    ----------
    z : array
        [n] atomic numbers.
    pos : array
        [n, 3] in angstrom.

    Returns
    -------
    SinglePoint

    Raises
    ------
    RuntimeError
        If the SCF does not converge.
    """
    from tblite.interface import Calculator

    masses = np.array([MASSES[int(number)] for number in z])
    arm = (pos - masses @ pos / masses.sum()) / BOHR
    calculator = Calculator(METHOD, np.asarray(z), arm)
    calculator.set("verbosity", 0)
    calculator.set("accuracy", ACCURACY)
    calculator.set("max-iter", MAX_ITERATIONS)
    calculator.add("xtbml_xyz")  # atomic multipoles
    result = calculator.singlepoint()
    atomic = result.get("post-processing-dict")
    charges = result.get("charges")
    dipoles = np.stack([atomic[f"dipm_A_{axis}"] for axis in "xyz"], axis=1)
    xx, xy, yy, xz, yz, zz = (
        float(np.sum(atomic[f"qm_A_{pair}"])) for pair in ("xx", "xy", "yy", "xz", "yz", "zz")
    )
    own = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    mixed = arm.T @ dipoles
    second = np.einsum("n,ni,nj->ij", charges, arm, arm) + mixed + mixed.T
    theta = (3 * second - np.trace(second) * np.eye(3)) / 2 + own
    return SinglePoint(
        energy=float(result.get("energy")) * HARTREE,
        dipole=(charges @ arm + dipoles.sum(axis=0)) * BOHR * E_ANGSTROM_TO_DEBYE,
        quadrupole=theta * BOHR**2 * E_ANGSTROM_TO_DEBYE,
        forces=-result.get("gradient") * HARTREE / BOHR,
    )


@dataclass(frozen=True)
class Moments:
    """Results for several molecules, NaN where the SCF did not converge.

    Attributes
    ----------
    energy : array
        [mol] float64, eV.
    dipole : array
        [mol, 3] float64, D.
    quadrupole : array
        [mol, 5] float64, D angstrom, see `qm9.tensors.spherical_components`.
    forces : array
        [n, 3] float32, eV / angstrom, molecule after molecule.
    """

    energy: NDArray[np.float64]
    dipole: NDArray[np.float64]
    quadrupole: NDArray[np.float64]
    forces: NDArray[np.float32]


def compute_moments(molecules: Sequence[Molecule]) -> Moments:
    """Compute molecules one after the other.

    Parameters
    ----------
    molecules : sequence of (array, array)
        Atomic numbers [n] and positions [n, 3] in angstrom.
    """
    count = len(molecules)
    energy, dipole = np.full(count, np.nan), np.full((count, 3), np.nan)
    quadrupole = np.full((count, 5), np.nan)
    forces = []
    for i, (z, pos) in enumerate(molecules):
        try:
            found = single_point(z, pos)
        except RuntimeError:  # of the SCF; the caller lists the molecule
            forces.append(np.full((len(z), 3), np.nan))
            continue
        energy[i], dipole[i] = found.energy, found.dipole
        quadrupole[i] = spherical_components(found.quadrupole)
        forces.append(found.forces)
    return Moments(energy, dipole, quadrupole, np.concatenate(forces).astype(np.float32))


def start_worker() -> None:
    """Prepare a worker process: one thread, and no life beyond its parent's."""
    os.environ["OMP_NUM_THREADS"] = "1"  # before tblite is loaded
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent is gone, which a queue does not tell."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
