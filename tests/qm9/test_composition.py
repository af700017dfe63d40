"""The composition fit, against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from qm9.cache import PreparedData
from qm9.composition import element_counts, element_symbol, fit_composition
from qm9.splits import make_splits
from qm9.targets import ELEMENTS


@pytest.fixture(scope="module")
def counts(prepared_qm9: PreparedData) -> np.ndarray:
    return element_counts(prepared_qm9.z.numpy(), prepared_qm9.node_offsets.numpy())


def test_counts_are_those_of_the_formulas(prepared_qm9, counts):
    # Methane, ammonia, water, acetylene.
    assert counts[:4, [1, 6, 7, 8]].tolist() == [
        [4, 1, 0, 0],
        [3, 0, 1, 0],
        [2, 0, 0, 1],
        [2, 2, 0, 0],
    ]
    for row in (17, 5_000, 130_830):
        first, last = prepared_qm9.node_offsets[row : row + 2].tolist()
        z = prepared_qm9.z[first:last].tolist()
        assert counts[row].tolist() == [z.count(number) for number in range(10)]


@pytest.mark.parametrize("target", ["U0", "zpve", "gap"])
def test_the_fit_is_scikit_learns(prepared_qm9, counts, target):
    rows = make_splits("standard", 3, len(prepared_qm9), train_size=2000)["train"].numpy()
    y = prepared_qm9.target(target).numpy()
    fit = fit_composition(counts[rows], y[rows])
    theirs = LinearRegression().fit(counts[rows][:, ELEMENTS], y[rows])
    np.testing.assert_allclose(fit.weights[list(ELEMENTS)], theirs.coef_, rtol=1e-9)
    assert fit.intercept == pytest.approx(theirs.intercept_, rel=1e-9)
    np.testing.assert_allclose(fit.predict(counts), theirs.predict(counts[:, ELEMENTS]), rtol=1e-9)


def test_elements_without_a_weight_have_no_reference(counts):
    fluorine_free = counts[counts[:, 9] == 0][:500]
    fit = fit_composition(fluorine_free, fluorine_free.sum(1).astype(float))
    assert np.isnan(fit.weights[9])
    predicted = fit.predict(counts)
    np.testing.assert_array_equal(np.isnan(predicted), counts[:, 9] > 0)
    np.testing.assert_allclose(predicted[:100], counts[:100].sum(1), atol=1e-9)


def test_too_few_molecules_are_refused_with_the_elements(counts):
    few = counts[:4]
    with pytest.raises(ValueError, match="4 training molecules do not determine .* H, C, N, O and"):
        fit_composition(few, few.sum(1).astype(float))


def test_counts_that_depend_on_each_other_are_refused():
    carbon = np.arange(40)
    alkanes = np.zeros((40, 10), dtype=np.int64)
    alkanes[:, 6], alkanes[:, 1] = carbon, 2 * carbon + 2
    with pytest.raises(ValueError, match="give more of them .* or --model.reference=mean"):
        fit_composition(alkanes, carbon.astype(float))


def test_elements_beyond_qm9_are_named_by_their_number():
    assert [element_symbol(9), element_symbol(17)] == ["F", "Z=17"]
