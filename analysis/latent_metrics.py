"""Numbers that say how a latent space is structured, from arrays alone.

Imports NumPy; scikit-learn where it is used, because importing it takes over a second. What
cannot be measured (too few molecules, a constant target) is NaN; unusable input is a ValueError.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

CONSTANT_BELOW = 1e-6
"""A column is constant if its standard deviation is below this part of its largest value."""


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
    return np.where(constant, 0.0, (x - x.mean(axis=0)) / np.where(constant, 1.0, std))


def problem_with(x_gd: ArrayLike, n_neighbors: int) -> str | None:
    """Say why an embedding cannot be projected, if it cannot.

    Parameters
    ----------
    x_gd : array
        [g, d] embedding, not standardized.
    n_neighbors : int
        Neighbours that the projection looks at.

    Returns
    -------
    str or None
        The cause in a few words, None if there is none.
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


def trustworthiness(x_gd: ArrayLike, layout_g2: ArrayLike, n_neighbors: int = 15) -> float:
    """How far neighbours in a layout are neighbours in the space that it shows, in [0, 1].

    T = 1 - 2 / (g k (2g - 3k - 1)) sum_i sum_{j in N_k(i)} max(0, rank(i, j) - k), where N_k
    are the k nearest in the layout and rank counts in the space (Venna and Kaski 2001;
    scikit-learn's implementation).

    Parameters
    ----------
    x_gd : array
        [g, d] the space.
    layout_g2 : array
        [g, 2] its layout.
    n_neighbors : int
        k.

    Returns
    -------
    float
        NaN if there are not more than 2 k molecules.

    Raises
    ------
    ValueError
        If the inputs are not matrices of finite numbers with one row a molecule.
    """
    x, layout = _finite_matrix(x_gd, "features"), _finite_matrix(layout_g2, "layout")
    _same_length(len(x), len(layout), "layout")
    if len(x) <= 2 * n_neighbors:
        return float("nan")
    from sklearn.manifold import trustworthiness as sklearn_trustworthiness

    return float(sklearn_trustworthiness(x, layout, n_neighbors=n_neighbors))


def knn_r2_target(
    x_gd: ArrayLike,
    target_g: ArrayLike,
    n_neighbors: int = 10,
    num_folds: int = 5,
    seed: int = 0,
) -> float:
    """R^2 with which a molecule's neighbours in the embedding predict its target.

    Each fold's targets are predicted by the mean of the k nearest of the other folds;
    R^2 = 1 - sum (y - y_pred)^2 / sum (y - mean y)^2 over all folds together.

    Parameters
    ----------
    x_gd : array
        [g, d] embedding, standardized.
    target_g : array
        [g] any unit. Molecules whose value is NaN are left out.
    n_neighbors : int
        k.
    num_folds : int
        Number of folds.
    seed : int
        Of the shuffle before the folds are cut.

    Returns
    -------
    float
        At most 1. NaN if the target is constant or there are too few molecules.

    Raises
    ------
    ValueError
        If `x_gd` is not a matrix of finite numbers or the lengths differ.
    """
    x, y = _finite_matrix(x_gd, "features"), np.asarray(target_g, dtype=np.float64)
    _same_length(len(x), len(y), "target")
    known = np.isfinite(y)
    x, y = x[known], y[known]
    smallest_training_part = len(y) - -(-len(y) // num_folds)
    if len(y) < num_folds or smallest_training_part < n_neighbors or np.ptp(y) == 0:
        return float("nan")
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.neighbors import KNeighborsRegressor

    folds = KFold(num_folds, shuffle=True, random_state=seed)
    predicted = cross_val_predict(KNeighborsRegressor(n_neighbors), x, y, cv=folds)
    return float(1.0 - ((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def knn_r2_complexity(
    x_gd: ArrayLike,
    spatial_score_g: ArrayLike,
    n_neighbors: int = 10,
    num_folds: int = 5,
    seed: int = 0,
) -> float:
    """R^2 with which a molecule's neighbours predict its stereochemical complexity.

    As `knn_r2_target`, of the normalized spatial score.

    Parameters
    ----------
    x_gd : array
        [g, d] embedding, standardized.
    spatial_score_g : array
        [g] see `analysis.spatial_score`; NaN where a molecule has none.
    n_neighbors, num_folds, seed : int
        As in `knn_r2_target`.

    Returns
    -------
    float
        At most 1. NaN if the scores are constant or there are too few.

    Raises
    ------
    ValueError
        As in `knn_r2_target`.
    """
    return knn_r2_target(x_gd, spatial_score_g, n_neighbors, num_folds, seed)


def _finite_matrix(x: ArrayLike, name: str) -> FloatArray:
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2:
        raise ValueError(f"{name} has shape {x.shape}: it must be [molecules, columns]")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} has NaN or infinite numbers: leave those molecules out first")
    return x


def _same_length(molecules: int, given: int, name: str) -> None:
    if molecules != given:
        raise ValueError(
            f"{name} has {given:,} rows for {molecules:,} molecules: pass one a molecule"
        )
