"""Baselines: named as in summary.json, and compared with a network's error."""

from __future__ import annotations

import pytest

from records.baselines import Baselines, baselines_of, describe_learning, learned_enough

KNOWN = Baselines(mean=8074.0, elements=864.0, bonds=491.0)


def test_results_are_read_back_as_they_were_written() -> None:
    results = KNOWN.to_results() | KNOWN.to_results("val_") | {"test/mae": 80.0}
    assert results["baseline/bonds_mae"] == results["baseline/val_bonds_mae"] == 491.0
    assert baselines_of(results) == KNOWN


def test_a_vector_has_no_linear_fit_to_counts_and_is_compared_with_zero() -> None:
    zero = Baselines(mean=1.2)
    assert zero.to_results() == {"baseline/mean_mae": 1.2}
    assert baselines_of(zero.to_results()) == zero
    assert learned_enough(0.6, zero)
    assert not learned_enough(0.7, zero)
    assert describe_learning(0.1, zero, "D") == "Without a network: 1.2 D from predicting zero"
    assert "the 1.2 D that predicting zero reaches" in describe_learning(0.7, zero, "D")


def test_runs_of_earlier_versions_have_no_baselines() -> None:
    assert baselines_of({"test/mae": 80.0, "test/mae_of_mean": 8074.0}) is None


@pytest.mark.parametrize(
    ("test_mae", "enough"), [(80.0, True), (245.5, True), (245.6, False), (float("nan"), False)]
)
def test_enough_is_half_the_error_of_bond_counts(test_mae: float, enough: bool) -> None:
    assert learned_enough(test_mae, KNOWN) is enough


def test_too_little_learning_is_said_after_the_baselines() -> None:
    assert describe_learning(80.0, KNOWN, "meV").startswith("Without a network: 491 meV")
    known, judgement = describe_learning(400.0, KNOWN, "meV").splitlines()
    assert known.startswith("Without a network: 491 meV")
    assert judgement.startswith("This network has learned too little for its irreps to be judged")
    assert "test MAE of 400 meV is not 2 times smaller than the 491 meV" in judgement
