"""The part of a target that a molecule's composition determines, by least squares.

With n_z(m) atoms of atomic number z in molecule m,

    reference(m) = intercept + sum_z n_z(m) weight_z

Imports NumPy and this package only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qm9.source import ATOMIC_NUMBERS

_SYMBOLS = {number: symbol for symbol, number in ATOMIC_NUMBERS.items()}


@dataclass(frozen=True)
class CompositionFit:
    """Least-squares fit of a target to element counts.

    Attributes
    ----------
    weights : array
        [max z + 1] float64 by atomic number, target's unit per atom. NaN for elements that the
        fitted molecules lack.
    intercept : float
        Target's unit.
    """

    weights: NDArray[np.float64]
    intercept: float

    def predict(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Compute the references of molecules.

        Parameters
        ----------
        counts : array
            [molecules, max z + 1] int64, see `element_counts`.

        Returns
        -------
        array
            [molecules] float64, target's unit. NaN for molecules with an element that the fitted
            molecules lack.
        """
        known = ~np.isnan(self.weights)
        reference = counts[:, known] @ self.weights[known] + self.intercept
        reference[counts[:, ~known].any(axis=1)] = np.nan
        return reference


def element_counts(z: NDArray[np.integer], node_offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the atoms of every element in every molecule.

    Parameters
    ----------
    z : array
        [n] atomic numbers, atoms of one molecule contiguous.
    node_offsets : array
        [molecules + 1] int64, first atom of each molecule and the total.

    Returns
    -------
    array
        [molecules, max z + 1] int64, columns are atomic numbers.
    """
    molecules, width = len(node_offsets) - 1, int(z.max()) + 1
    molecule_of_atom = np.repeat(np.arange(molecules), np.diff(node_offsets))
    flat = np.bincount(molecule_of_atom * width + z, minlength=molecules * width)
    return flat.reshape(molecules, width)


def fit_composition(counts: NDArray[np.int64], y: NDArray[np.float64]) -> CompositionFit:
    """Fit a target to element counts and an intercept.

    Parameters
    ----------
    counts : array
        [molecules, max z + 1] int64, see `element_counts`.
    y : array
        [molecules] float64, the target in its unit.

    Raises
    ------
    ValueError
        If the molecules do not determine the fit: too few of them, or element counts that depend
        linearly on each other. A minimum-norm solution would extrapolate without saying so.
    """
    elements = np.flatnonzero(counts.any(axis=0))
    design = np.column_stack([counts[:, elements], np.ones(len(counts))]).astype(np.float64)
    solution, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    if rank < design.shape[1] or len(design) <= design.shape[1]:
        symbols = ", ".join(element_symbol(int(z)) for z in elements)
        raise ValueError(
            f"{len(design)} training molecules do not determine a contribution of each of the "
            f"elements {symbols} and a constant: give more of them (--data.train_size), or "
            "--model.reference=mean"
        )
    weights = np.full(counts.shape[1], np.nan)
    weights[elements] = solution[:-1]
    return CompositionFit(weights, float(solution[-1]))


def element_symbol(atomic_number: int) -> str:
    """Name an element, e.g. ``F``; an element that QM9 lacks is named by its number, ``Z=17``."""
    return _SYMBOLS.get(atomic_number, f"Z={atomic_number}")
