"""Predictors without a network: how well counts of elements and bonds alone predict a target.

Imports NumPy and RDKit (when called) only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

VERSION = 1
"""Increased whenever the errors of the same molecules change."""

MAX_FITTED = 20_000
"""Enough training molecules for the two dozen coefficients of the baselines: more would change
nothing but the time that reading their SMILES takes."""

BondKind = tuple[int, int, str]
"""Two atomic numbers, the smaller first, and the bond order, e.g. ``(6, 8, "DOUBLE")``."""


@dataclass(frozen=True)
class CountedMolecules:
    """A part of the data set, as the baselines see it.

    Attributes
    ----------
    element_counts : array
        [molecules, max z + 1] int64.
    smiles : sequence of str
        [molecules].
    y : array
        [molecules] float64, the target in its unit.
    """

    element_counts: NDArray[np.int64]
    smiles: Sequence[str]
    y: NDArray[np.float64]


@dataclass(frozen=True)
class CountedBonds:
    """A part of a data set whose bonds are counted.

    Attributes
    ----------
    element_counts : array
        [molecules, max z + 1] int64.
    bond_counts : array
        [molecules, kinds] int64.
    y : array
        [molecules] float64, the target in its unit.
    """

    element_counts: NDArray[np.int64]
    bond_counts: NDArray[np.int64]
    y: NDArray[np.float64]

    @property
    def all_counts(self) -> NDArray[np.int64]:
        """Element and bond counts side by side."""
        return np.concatenate([self.element_counts, self.bond_counts], axis=1)


class BaselineErrors(NamedTuple):
    """MAE of the three predictors on the same molecules, in the reporting unit."""

    mean: float
    """Predicts the mean of the fitted molecules for every molecule."""
    elements: float
    """Linear in the number of atoms of every element."""
    bonds: float
    """Linear in these and in the number of bonds of every kind."""


def bond_kinds(smiles: str) -> Counter[BondKind]:
    """Count the bonds of every kind in one molecule.

    Bond orders are RDKit's, ``AROMATIC`` among them; QM9's own files have none. Bonds to hydrogen
    are those that the SMILES implies.

    Parameters
    ----------
    smiles : str
        As in QM9. What RDKit cannot read has no bonds.
    """
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():  # RDKit prints a line for every SMILES that it cannot read
        molecule = Chem.MolFromSmiles(smiles)
    kinds: Counter[BondKind] = Counter()
    if molecule is None:
        return kinds
    for bond in molecule.GetBonds():
        ends = sorted((bond.GetBeginAtom().GetAtomicNum(), bond.GetEndAtom().GetAtomicNum()))
        kinds[ends[0], ends[1], str(bond.GetBondType())] += 1
    for atom in molecule.GetAtoms():
        if hydrogens := atom.GetTotalNumHs():
            kinds[1, atom.GetAtomicNum(), "SINGLE"] += hydrogens
    return kinds


def measure_baselines(
    train: CountedMolecules, evaluated: Sequence[CountedMolecules], reporting_factor: float
) -> list[BaselineErrors]:
    """Fit the baselines, and measure them on other molecules.

    Parameters
    ----------
    train : CountedMolecules
        Molecules to fit to, at least one; `MAX_FITTED` are enough.
    evaluated : sequence of CountedMolecules
        Parts to measure on, each with at least one molecule.
    reporting_factor : float
        Reporting units in one unit of the target.

    Returns
    -------
    list of BaselineErrors
        One for every part of `evaluated`.
    """
    counters = [bond_kinds(smiles) for smiles in train.smiles]
    kinds = sorted(set().union(*counters))
    parts = [
        CountedBonds(part.element_counts, _counts_of(found, kinds), part.y)
        for part, found in (
            (train, counters),
            *((part, [bond_kinds(smiles) for smiles in part.smiles]) for part in evaluated),
        )
    ]
    return measure_linear(parts[0], parts[1:], reporting_factor)


def measure_linear(
    train: CountedBonds, evaluated: Sequence[CountedBonds], reporting_factor: float
) -> list[BaselineErrors]:
    """Do the same where bonds are counted already; see `measure_baselines`."""
    elements = LinearFit.of(train.element_counts, train.y)
    bonds = LinearFit.of(train.all_counts, train.y)
    found = []
    for part in evaluated:
        predictions = (
            np.full(len(part.y), train.y.mean()),
            elements.predict(part.element_counts),
            bonds.predict(part.all_counts),
        )
        errors = (float(np.abs(part.y - p).mean()) * reporting_factor for p in predictions)
        found.append(BaselineErrors(*errors))
    return found


def _counts_of(
    counters: Sequence[Counter[BondKind]], kinds: Sequence[BondKind]
) -> NDArray[np.int64]:
    """Bonds of each kind, [molecules, kinds]."""
    counts = [[counter[kind] for kind in kinds] for counter in counters]
    return np.array(counts, dtype=np.int64).reshape(len(counts), len(kinds))


@dataclass(frozen=True)
class LinearFit:
    """Least squares with an intercept: y = counts @ weights + intercept.

    Element and bond counts depend on each other (every hydrogen has one bond), so that of all
    solutions the one with the smallest norm is taken. Counts that the fitted molecules lack have
    no weight. A baseline may guess, which the reference of `qm9.composition` must not.

    Attributes
    ----------
    weights : array
        [counts] float64.
    intercept : float
        Unit of y.
    """

    weights: NDArray[np.float64]
    intercept: float

    @classmethod
    def of(cls, counts: NDArray[np.int64], y: NDArray[np.float64]) -> LinearFit:
        """Fit.

        Parameters
        ----------
        counts : array
            [molecules, counts] int64.
        y : array
            [molecules] float64.
        """
        # Centred, the smallest norm does not trade the intercept against the weights.
        center = counts.mean(axis=0)
        weights = np.linalg.lstsq(counts - center, y - y.mean(), rcond=None)[0]
        return cls(weights, float(y.mean() - center @ weights))

    def predict(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Predict [molecules] float64 from counts [molecules, counts]."""
        return counts @ self.weights + self.intercept
