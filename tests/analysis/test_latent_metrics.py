"""Measures of latent structure against scikit-learn, brute force and known answers."""

import numpy as np
import pytest
from sklearn import manifold
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from analysis.latent_metrics import (
    knn_r2_complexity,
    knn_r2_target,
    problem_with,
    standardize,
    trustworthiness,
)

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
    assert trustworthiness(CLOUD, layout, n_neighbors=7) == expected
    assert trustworthiness(layout, 3 * layout) == 1.0


def test_r2_matches_brute_force() -> None:
    y = CLOUD[:, 0] + 0.1 * RNG.normal(size=200)
    order = np.random.RandomState(0).permutation(200)
    predicted = np.empty(200)
    for fold in np.array_split(order, 5):
        others = np.setdiff1d(order, fold)
        distance = np.linalg.norm(CLOUD[fold][:, None] - CLOUD[others][None], axis=-1)
        predicted[fold] = y[others][np.argsort(distance, axis=1)[:, :10]].mean(axis=1)
    assert knn_r2_target(CLOUD, y) == pytest.approx(r2_score(y, predicted), abs=1e-12)


def test_r2_of_a_smooth_target_is_high_and_of_noise_is_not_positive() -> None:
    plane = RNG.uniform(size=(500, 2))
    assert knn_r2_target(plane, plane[:, 0] + plane[:, 1] ** 2) > 0.97
    assert knn_r2_target(plane, RNG.normal(size=500)) < 0.05


def test_r2_does_not_depend_on_the_targets_unit() -> None:
    y = CLOUD[:, 0]
    assert knn_r2_target(CLOUD, 1000 * y - 76_000) == pytest.approx(knn_r2_target(CLOUD, y))


def test_molecules_without_a_score_are_left_out() -> None:
    score = CLOUD[:, 1].copy()
    score[::4] = np.nan
    kept = np.isfinite(score)
    assert knn_r2_complexity(CLOUD, score) == knn_r2_target(CLOUD[kept], score[kept])


@pytest.mark.parametrize(
    "measured",
    [
        lambda: knn_r2_target(CLOUD, np.ones(200)),
        lambda: knn_r2_target(CLOUD[:11], CLOUD[:11, 0]),
        lambda: knn_r2_complexity(CLOUD, np.full(200, np.nan)),
        lambda: trustworthiness(CLOUD[:30], CLOUD[:30, :2], n_neighbors=15),
    ],
    ids=["constant target", "too few", "no scores", "too few for neighbours"],
)
def test_what_cannot_be_measured_is_nan(measured: object) -> None:
    assert np.isnan(measured())  # type: ignore[operator]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: knn_r2_target(CLOUD, np.ones(7)), "7 rows for 200 molecules"),
        (lambda: trustworthiness(CLOUD, CLOUD[:9, :2]), "9 rows for 200 molecules"),
        (lambda: standardize(CLOUD[0]), "must be .molecules, columns."),
        (lambda: standardize(np.full((3, 2), np.nan)), "NaN or infinite"),
    ],
)
def test_unusable_input_is_named(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


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
