"""References per element: the part of an energy that a structure's composition determines.

Imports NumPy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ElementReferences:
    """Least-squares fit of an energy to element counts, without an intercept.

    Without one, two copies of a structure have twice its reference, as energies have it.

    Attributes
    ----------
    weights : array
        [max z + 1] float64 by atomic number, the target's unit per atom. NaN for elements that the
        fitted structures lack.
    rank : int
        Number of independent compositions among the fitted structures.
    num_elements : int
        Number of elements in them. If it exceeds `rank`, the references of single elements are not
        determined: of all that fit equally well, these have the smallest norm. Sums over the
        fitted compositions, and over combinations of them, are determined all the same.
    """

    weights: NDArray[np.float64]
    rank: int
    num_elements: int


def fit_element_references(counts: NDArray[np.int64], y: NDArray[np.float64]) -> ElementReferences:
    """Fit references per element.

    Parameters
    ----------
    counts : array
        [structures, max z + 1] int64 atoms of each element; at least one structure.
    y : array
        [structures] float64, the target in its unit.
    """
    elements = np.flatnonzero(counts.any(axis=0))
    solution, _, rank, _ = np.linalg.lstsq(counts[:, elements].astype(np.float64), y, rcond=None)
    weights = np.full(counts.shape[1], np.nan)
    weights[elements] = solution
    return ElementReferences(weights, int(rank), len(elements))


def outside_of(
    fitted: NDArray[np.int64], others: NDArray[np.int64], tolerance: float = 1e-6
) -> NDArray[np.bool_]:
    """Find compositions that are no linear combination of the fitted ones.

    References say nothing about them where single elements are not determined.

    Parameters
    ----------
    fitted, others : array
        [structures, max z + 1] int64 atoms of each element.
    tolerance : float
        Largest distance from the combinations, relative to the composition's length.

    Returns
    -------
    array
        [others] bool.
    """
    compositions = np.unique(fitted, axis=0).astype(np.float64)
    _, sizes, directions = np.linalg.svd(compositions, full_matrices=False)
    basis = directions[sizes > 1e-9 * sizes.max()]
    rest = others - (others @ basis.T) @ basis
    outside: NDArray[np.bool_] = np.linalg.norm(rest, axis=1) > tolerance * np.linalg.norm(
        others, axis=1
    )
    return outside
