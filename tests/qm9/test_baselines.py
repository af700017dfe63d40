"""Predictors without a network, against scikit-learn and against figures from elsewhere."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from qm9.baselines import CountedMolecules, LinearFit, bond_kinds, measure_baselines
from qm9.cache import PreparedData
from qm9.composition import element_counts
from qm9.splits import make_splits


def part(data: PreparedData, rows, target: str = "U0") -> CountedMolecules:
    counts = element_counts(data.z.numpy(), data.node_offsets.numpy())[rows]
    return CountedMolecules(
        counts, [data.smiles(row) for row in rows], data.target(target)[rows].numpy()
    )


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [
        ("C", {(1, 6, "SINGLE"): 4}),
        ("C#N", {(6, 7, "TRIPLE"): 1, (1, 6, "SINGLE"): 1}),
        ("CC=O", {(6, 6, "SINGLE"): 1, (6, 8, "DOUBLE"): 1, (1, 6, "SINGLE"): 4}),
        (
            "c1cc[nH]c1",
            {
                (6, 6, "AROMATIC"): 3,
                (6, 7, "AROMATIC"): 2,
                (1, 6, "SINGLE"): 4,
                (1, 7, "SINGLE"): 1,
            },
        ),
        ("not a molecule", {}),
    ],
)
def test_bonds_are_counted_by_elements_and_order(smiles, expected):
    assert dict(bond_kinds(smiles)) == expected


def test_element_counts_of_the_quickstarts_molecules_reach_864_mev(prepared_qm9):
    splits = make_splits("standard", 0, len(prepared_qm9), train_size=6000, test_size=2000)
    train, test = (
        part(prepared_qm9, splits["train"].numpy()),
        part(prepared_qm9, splits["test"].numpy()),
    )
    fit = LinearFit.of(train.element_counts, train.y)
    mae = 1000 * np.abs(fit.predict(test.element_counts) - test.y).mean()
    assert mae == pytest.approx(864, abs=0.5)


def test_baselines_are_scikit_learns_and_each_knows_more_than_the_one_before(prepared_qm9):
    splits = make_splits("standard", 0, len(prepared_qm9), train_size=1000, test_size=300)
    train, test = (
        part(prepared_qm9, splits["train"].numpy()),
        part(prepared_qm9, splits["test"].numpy()),
    )
    found, on_train = measure_baselines(train, [test, train], 1000.0)
    assert found.mean == pytest.approx(1000 * np.abs(test.y - train.y.mean()).mean())
    elements = LinearRegression().fit(train.element_counts, train.y)
    assert found.elements == pytest.approx(
        1000 * np.abs(test.y - elements.predict(test.element_counts)).mean()
    )
    assert found.mean > found.elements > found.bonds
    assert on_train.mean > on_train.elements > on_train.bonds

    def design(molecules: CountedMolecules) -> np.ndarray:
        counters = [bond_kinds(smiles) for smiles in molecules.smiles]
        kinds = sorted({kind for smiles in train.smiles for kind in bond_kinds(smiles)})
        bonds = [[counter[kind] for kind in kinds] for counter in counters]
        return np.concatenate([molecules.element_counts, np.array(bonds)], axis=1)

    bonds = LinearRegression().fit(design(train), train.y)
    expected = 1000 * np.abs(test.y - bonds.predict(design(test))).mean()
    assert found.bonds == pytest.approx(expected, rel=1e-6)


def test_one_training_molecule_is_enough_for_numbers(prepared_qm9):
    (found,) = measure_baselines(part(prepared_qm9, [7]), [part(prepared_qm9, [3, 5])], 1000.0)
    assert np.isfinite([found.mean, found.elements, found.bonds]).all()
    assert found.mean == found.elements == found.bonds
