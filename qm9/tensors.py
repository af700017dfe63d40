"""Vectors and traceless symmetric tensors of molecules, as the targets hold them.

Imports NumPy and this package only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

E_ANGSTROM_TO_DEBYE = 4.803204712570263
"""Elementary charge times angstrom in debye (CODATA 2018)."""


def charge_dipoles(
    charges: NDArray[np.float64], pos: NDArray[np.float64], node_offsets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Compute the dipole moments of atomic charges, mu = sum_i q_i (r_i - r_c).

    The origin r_c, the mean of a molecule's positions, only matters to the rounding of the charges,
    whose sum is zero up to a few 1e-6 e.

    Parameters
    ----------
    charges : array
        [n] in e.
    pos : array
        [n, 3] in angstrom.
    node_offsets : array
        [mol + 1] int64, first atom of each molecule and the total.

    Returns
    -------
    array
        [mol, 3] in D, components x, y, z.
    """
    sizes = np.diff(node_offsets)
    first = node_offsets[:-1]
    center = np.add.reduceat(pos, first, axis=0) / sizes[:, None]
    arm = pos - np.repeat(center, sizes, axis=0)
    dipoles: NDArray[np.float64] = np.add.reduceat(charges[:, None] * arm, first, axis=0)
    return dipoles * E_ANGSTROM_TO_DEBYE


def spherical_components(tensor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Write traceless symmetric tensors in e3nn's basis of l = 2.

    With the unit tensors (zx + xz)/sqrt(2), (xy + yx)/sqrt(2), (2yy - xx - zz)/sqrt(6),
    (yz + zy)/sqrt(2) and (zz - xx)/sqrt(2), which are orthonormal, so that the Euclidean norm of
    the five components is the Frobenius norm of the tensor. They turn as the spherical harmonics
    of l = 2 do (``2e``).

    Parameters
    ----------
    tensor : array
        [..., 3, 3], symmetric; a trace is ignored.

    Returns
    -------
    array
        [..., 5], the tensor's unit.
    """
    xx, yy, zz = (tensor[..., i, i] for i in range(3))
    return np.stack(
        [
            np.sqrt(2) * tensor[..., 0, 2],
            np.sqrt(2) * tensor[..., 0, 1],
            (2 * yy - xx - zz) / np.sqrt(6),
            np.sqrt(2) * tensor[..., 1, 2],
            (zz - xx) / np.sqrt(2),
        ],
        axis=-1,
    )
