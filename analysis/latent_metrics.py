"""Measures of how a latent space is structured, computed from arrays alone.

Imports NumPy and `records.latents`; scikit-learn and SciPy where they are used, because importing
them takes over a second. What cannot be measured (too few molecules, a constant target) is NaN;
unusable input is a ValueError. All intervals are bootstrap intervals over molecules.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from records.latents import Estimate

FloatArray = NDArray[np.float64]

CONSTANT_BELOW = 1e-6
"""A column is constant if its standard deviation is below this fraction of its largest value."""
ROUNDING = 1e-9
"""Residuals below this fraction of the target are rounding errors of the fit."""
RESAMPLES = 500
"""Bootstrap resamples per interval."""
LEVEL = 0.95
"""Coverage of the intervals."""
NOT_MEASURED = Estimate(math.nan, math.nan, math.nan, 0)


def standardize(x_gd: ArrayLike) -> FloatArray:
    """Shift and scale each column to mean 0 and standard deviation 1.

    Parameters
    ----------
    x_gd : array
        [g, d] finite numbers.

    Returns
    -------
    array
        [g, d] float64; constant columns become 0.

    Raises
    ------
    ValueError
        If `x_gd` is not a matrix of finite numbers.
    """
    x = _finite_matrix(x_gd, "features")
    std = x.std(axis=0)
    constant = std <= CONSTANT_BELOW * np.abs(x).max(axis=0, initial=0.0)
    scaled: FloatArray = np.where(
        constant, 0.0, (x - x.mean(axis=0)) / np.where(constant, 1.0, std)
    )
    return scaled


def problem_with(x_gd: ArrayLike, n_neighbors: int) -> str | None:
    """Say why an embedding cannot be projected, if it cannot.

    Parameters
    ----------
    x_gd : array
        [g, d] embedding, not standardized.
    n_neighbors : int
        Size of the neighbourhoods that the projection uses.

    Returns
    -------
    str or None
        The cause in a few words; None if the embedding can be projected.
    """
    x = np.asarray(x_gd, dtype=np.float64)
    bad = int((~np.isfinite(x).all(axis=1)).sum())
    if bad:
        return f"features of {bad:,} of {len(x):,} molecules are NaN or infinite"
    if len(x) <= n_neighbors:
        return f"{len(x):,} molecules are too few for {n_neighbors} neighbours"
    if not standardize(x).any():
        return "features are the same for all molecules"
    return None


def composition_residual(target_g: ArrayLike, counts_gt: ArrayLike) -> FloatArray:
    """Subtract from a target its least-squares fit on element counts.

    r = y - (a + sum_t b_t n_t), with a and b fitted to the given molecules. What is left is what a
    molecule's formula does not say. Most of the variance of an extensive target, such as an
    atomization energy, is in the formula.

    Parameters
    ----------
    target_g : array
        [g] finite numbers, any unit.
    counts_gt : array
        [g, t] atoms of each element.

    Returns
    -------
    array
        [g] float64, unit of the target; zeros if the counts determine the target.

    Raises
    ------
    ValueError
        If `counts_gt` is not a matrix of finite numbers or the lengths differ.
    """
    counts = _finite_matrix(counts_gt, "element counts")
    y = np.asarray(target_g, dtype=np.float64)
    _check_length(len(counts), len(y), "target")
    columns = np.column_stack([np.ones(len(counts)), counts])
    coefficients, *_ = np.linalg.lstsq(columns, y)
    residual: FloatArray = y - columns @ coefficients
    negligible = np.abs(residual).max(initial=0.0) <= ROUNDING * np.abs(y).max(initial=0.0)
    return np.zeros_like(y) if negligible else residual


def knn_r2(
    x_gd: ArrayLike,
    y_g: ArrayLike,
    n_neighbors: int = 10,
    num_folds: int = 5,
    seed: int = 0,
) -> Estimate:
    """R^2 with which the nearest neighbours of a molecule predict a property of it.

    Each fold's values are predicted by the mean over the k nearest molecules of the other folds;
    R^2 = 1 - sum (y - y_pred)^2 / sum (y - mean y)^2 over all folds together. The interval
    resamples molecules with their predictions. R^2 grows with the number of molecules, because
    neighbours come closer: compare numbers of equal counts only.

    Parameters
    ----------
    x_gd : array
        [g, d] embedding, standardized.
    y_g : array
        [g] any unit. Molecules whose value is NaN are left out.
    n_neighbors : int
        k.
    num_folds : int
        Number of folds.
    seed : int
        Seed of the shuffle before the folds are cut, and of the resamples.

    Returns
    -------
    Estimate
        At most 1. NaN if the values are constant or there are too few molecules.

    Raises
    ------
    ValueError
        If `x_gd` is not a matrix of finite numbers or the lengths differ.
    """
    x, y = _finite_matrix(x_gd, "features"), np.asarray(y_g, dtype=np.float64)
    _check_length(len(x), len(y), "target")
    known = np.isfinite(y)
    x, y = x[known], y[known]
    smallest_training_part = len(y) - -(-len(y) // num_folds)
    if len(y) < num_folds or smallest_training_part < n_neighbors or np.ptp(y) == 0:
        return NOT_MEASURED
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.neighbors import KNeighborsRegressor

    folds = KFold(num_folds, shuffle=True, random_state=seed)
    predicted = cross_val_predict(KNeighborsRegressor(n_neighbors), x, y, cv=folds)
    return bootstrap_estimate(_r2, y, predicted, seed=seed)


def _r2(y: FloatArray, predicted: FloatArray, axis: int = -1) -> FloatArray:
    unexplained = ((y - predicted) ** 2).sum(axis=axis)
    return np.asarray(1.0 - unexplained / (y.var(axis=axis) * y.shape[axis]))


def trustworthiness(
    x_gd: ArrayLike, layout_g2: ArrayLike, n_neighbors: int = 15, seed: int = 0
) -> Estimate:
    """How far neighbours in a layout are neighbours in the space that it shows, from 0 to 1.

    T = 1 - 2 / (g k (2g - 3k - 1)) sum_i sum_{j in N_k(i)} max(0, rank(i, j) - k), where N_k
    are the k nearest in the layout and rank counts in the space (Venna and Kaski 2001). The value
    is `sklearn.manifold.trustworthiness`; it is computed here because the interval needs the
    contribution of each molecule.

    Parameters
    ----------
    x_gd : array
        [g, d] the space.
    layout_g2 : array
        [g, 2] its layout.
    n_neighbors : int
        k.
    seed : int
        Seed of the resamples.

    Returns
    -------
    Estimate
        NaN unless there are more than 2 k molecules.

    Raises
    ------
    ValueError
        If the inputs are not matrices of finite numbers with one row per molecule.
    """
    x, layout = _finite_matrix(x_gd, "features"), _finite_matrix(layout_g2, "layout")
    _check_length(len(x), len(layout), "layout")
    if len(x) <= 2 * n_neighbors:
        return NOT_MEASURED
    from sklearn.metrics import pairwise_distances
    from sklearn.neighbors import NearestNeighbors

    g, k = len(x), n_neighbors
    distances_gg = pairwise_distances(x)
    np.fill_diagonal(distances_gg, np.inf)
    order_gg = distances_gg.argsort(axis=1)
    rank_gg = np.empty_like(order_gg)
    np.put_along_axis(rank_gg, order_gg, np.arange(1, g + 1)[None], axis=1)
    neighbours_gk = NearestNeighbors(n_neighbors=k).fit(layout).kneighbors(return_distance=False)
    excess_gk = np.maximum(np.take_along_axis(rank_gg, neighbours_gk, axis=1) - k, 0)
    trust_g = 1.0 - 2.0 / (k * (2 * g - 3 * k - 1)) * excess_gk.sum(axis=1)
    return bootstrap_estimate(np.mean, trust_g, seed=seed)


def bootstrap_estimate(
    statistic: Callable[..., object], *values_g: FloatArray, seed: int = 0
) -> Estimate:
    """Evaluate a statistic, with its percentile bootstrap interval over molecules.

    Parameters
    ----------
    statistic : callable
        Takes the arrays and ``axis``.
    *values_g : array
        [g] one value per molecule each; resampled together.
    seed : int
        Seed of the resamples.

    Returns
    -------
    Estimate
        With an interval at `LEVEL`. NaN if the statistic is.
    """
    from scipy.stats import bootstrap

    value = float(np.asarray(statistic(*values_g, axis=-1)))
    if math.isnan(value):
        return NOT_MEASURED
    interval = bootstrap(
        values_g,
        statistic,
        n_resamples=RESAMPLES,
        batch=100,
        vectorized=True,
        paired=True,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high), len(values_g[0]))


def _finite_matrix(x: ArrayLike, name: str) -> FloatArray:
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2:
        raise ValueError(f"{name} has shape {x.shape}: it must be [molecules, columns]")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} has NaN or infinite numbers: leave those molecules out first")
    return x


def _check_length(molecules: int, given: int, name: str) -> None:
    if molecules != given:
        raise ValueError(
            f"{name} has {given:,} rows for {molecules:,} molecules: pass one row per molecule"
        )
