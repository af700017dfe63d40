"""Measures of latent structure against scikit-learn, brute force and known answers."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn import manifold
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from analysis.latent_metrics import (
    composition_residual,
    knn_r2,
    problem_with,
    standardize,
    trustworthiness,
)
from records.latents import Estimate

RNG = np.random.default_rng(0)
CLOUD = RNG.normal(size=(200, 6))


def test_standardize_matches_scikit_learn() -> None:
    x = CLOUD * [1, 1e3, 1e-3, 1, 1, 1] + [0, 1, 2, 1e4, 0, 0]
    np.testing.assert_allclose(standardize(x), StandardScaler().fit_transform(x), atol=1e-9)


def test_constant_columns_become_zero() -> None:
    x = CLOUD.copy()
    x[:, 2] = 0.1 + 1e-12 * CLOUD[:, 2]
    assert not standardize(x)[:, 2].any()


def test_trustworthiness_is_scikit_learns() -> None:
    layout = CLOUD[:, :2]
    expected = manifold.trustworthiness(CLOUD, layout, n_neighbors=7)
    estimate = trustworthiness(CLOUD, layout, n_neighbors=7)
    assert estimate.value == pytest.approx(expected, abs=1e-12)
    assert estimate.low < expected < estimate.high
    assert trustworthiness(layout, 3 * layout).value == 1.0


def test_r2_matches_brute_force() -> None:
    y = CLOUD[:, 0] + 0.1 * RNG.normal(size=200)
    order = np.random.RandomState(0).permutation(200)
    predicted = np.empty(200)
    for fold in np.array_split(order, 5):
        others = np.setdiff1d(order, fold)
        distance = np.linalg.norm(CLOUD[fold][:, None] - CLOUD[others][None], axis=-1)
        predicted[fold] = y[others][np.argsort(distance, axis=1)[:, :10]].mean(axis=1)
    assert knn_r2(CLOUD, y).value == pytest.approx(r2_score(y, predicted), abs=1e-12)


def test_r2_of_a_smooth_target_is_high_and_of_noise_is_not_positive() -> None:
    plane = RNG.uniform(size=(500, 2))
    assert knn_r2(plane, plane[:, 0] + plane[:, 1] ** 2).value > 0.97
    assert knn_r2(plane, RNG.normal(size=500)).value < 0.05


def test_r2_interval_is_as_wide_as_r2_of_new_molecules_scatters() -> None:
    rng = np.random.default_rng(1)
    estimates = []
    for _ in range(60):
        x = rng.uniform(size=(300, 2))
        estimates.append(knn_r2(x, x[:, 0] + 0.2 * rng.normal(size=300)))
    scatter = np.std([estimate.value for estimate in estimates])
    half_widths = [(estimate.high - estimate.low) / 2 for estimate in estimates]
    assert np.median(half_widths) == pytest.approx(1.96 * scatter, rel=0.35)
    assert all(estimate.low < estimate.value < estimate.high for estimate in estimates)


def test_composition_residual_is_linear_regressions() -> None:
    counts = RNG.integers(0, 9, size=(200, 5))
    target = counts @ [-1.0, -7.0, -4.0, -3.0, -2.0] - 0.5 + CLOUD[:, 0]
    expected = target - LinearRegression().fit(counts, target).predict(counts)
    np.testing.assert_allclose(composition_residual(target, counts), expected, atol=1e-10)


def test_composition_residual_takes_elements_that_never_vary() -> None:
    counts = np.column_stack([RNG.integers(0, 9, size=200), np.zeros(200), np.full(200, 3)])
    expected = CLOUD[:, 0] - LinearRegression().fit(counts, CLOUD[:, 0]).predict(counts)
    np.testing.assert_allclose(composition_residual(CLOUD[:, 0], counts), expected, atol=1e-10)


def test_nothing_is_left_of_a_target_that_element_counts_determine() -> None:
    counts = RNG.integers(0, 9, size=(200, 5))
    residual = composition_residual(counts @ [-1e4, -7e4, 3.0, 0.1, 2.0], counts)
    assert not residual.any()
    assert np.isnan(knn_r2(standardize(counts), residual).value)


def test_element_counts_explain_the_target_but_not_its_residual() -> None:
    # The confound: neighbours with the same formula have nearly the same energy.
    counts = RNG.integers(0, 9, size=(200, 3))
    target = counts @ [-30.0, -70.0, -40.0] + 10.0 * CLOUD[:, 0]
    space = standardize(counts)
    assert knn_r2(space, target).low > 0.8
    assert knn_r2(space, composition_residual(target, counts)).high < 0.1
    residual = composition_residual(target, counts)
    assert knn_r2(CLOUD[:, :1], residual).low > 0.8


def test_r2_does_not_depend_on_the_targets_unit() -> None:
    y = CLOUD[:, 0]
    assert knn_r2(CLOUD, 1000 * y - 76_000) == pytest.approx(knn_r2(CLOUD, y))


def test_molecules_without_a_score_are_left_out() -> None:
    score = CLOUD[:, 1].copy()
    score[::4] = np.nan
    kept = np.isfinite(score)
    estimate = knn_r2(CLOUD, score)
    assert estimate == knn_r2(CLOUD[kept], score[kept])
    assert estimate.num_molecules == 150


@pytest.mark.parametrize(
    "measured",
    [
        lambda: knn_r2(CLOUD, np.ones(200)),
        lambda: knn_r2(CLOUD[:11], CLOUD[:11, 0]),
        lambda: knn_r2(CLOUD, np.full(200, np.nan)),
        lambda: trustworthiness(CLOUD[:30], CLOUD[:30, :2], n_neighbors=15),
    ],
    ids=["constant target", "too few", "no scores", "too few for neighbours"],
)
def test_what_cannot_be_measured_is_nan(measured: Callable[[], Estimate]) -> None:
    assert np.isnan(measured().value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: knn_r2(CLOUD, np.ones(7)), "7 rows for 200 molecules"),
        (lambda: composition_residual(np.ones(7), CLOUD), "7 rows for 200 molecules"),
        (lambda: trustworthiness(CLOUD, CLOUD[:9, :2]), "9 rows for 200 molecules"),
        (lambda: standardize(CLOUD[0]), "must be .molecules, columns."),
        (lambda: standardize(np.full((3, 2), np.nan)), "NaN or infinite"),
    ],
)
def test_unusable_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("x", "cause"),
    [
        (np.where(np.arange(200)[:, None] < 3, np.nan, CLOUD), "3 of 200 molecules are NaN"),
        (CLOUD[:15], "15 molecules are too few for 15 neighbours"),
        (np.full((200, 4), 0.3), "the same for all molecules"),
        (CLOUD[:16], None),
        (CLOUD[:, :1], None),
    ],
)
def test_problems_are_named(x: np.ndarray, cause: str | None) -> None:
    found = problem_with(x, n_neighbors=15)
    assert (found is None) if cause is None else (cause in str(found))
