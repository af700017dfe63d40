"""Intrinsic dimension of a point cloud, from nearest neighbours.

Imports NumPy; scikit-learn where it is used.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

FEWEST_POINTS = 10
"""Fewer distinct points than this give no estimate."""


def intrinsic_dimension(x_gd: ArrayLike, discard: float = 0.1) -> float:
    """Estimate how many dimensions points fill locally, by TwoNN.

    For points of locally constant density on a d-dimensional manifold, the ratio mu = r_2 / r_1
    of the distances to the second and first neighbour has F(mu) = 1 - mu^(-d). So
    -log(1 - F(mu)) = d log mu, fitted by a line through the origin, where F is the empirical
    distribution (Facco et al. 2017, doi:10.1038/s41598-017-11873-y).

    Parameters
    ----------
    x_gd : array
        [g, d] points.
    discard : float
        Part of the points with the largest mu that is left out of the fit, in [0, 1); these
        are the least reliable.

    Returns
    -------
    float
        Dimension. NaN if fewer than `FEWEST_POINTS` points differ from their nearest
        neighbour, or all ratios are 1.

    Raises
    ------
    ValueError
        If `x_gd` is not a matrix of finite numbers or `discard` is out of range.
    """
    x = np.asarray(x_gd, dtype=np.float64)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise ValueError(
            f"points of shape {x.shape} must be a matrix [molecules, columns] of finite numbers"
        )
    if not 0 <= discard < 1:
        raise ValueError(f"discard is {discard}: it must be at least 0 and below 1")
    if len(x) < FEWEST_POINTS:
        return float("nan")
    from sklearn.neighbors import NearestNeighbors

    # Centred, because scikit-learn's distances in many dimensions cancel far from the origin.
    x = x - x.mean(axis=0)
    distances, _ = NearestNeighbors(n_neighbors=2).fit(x).kneighbors()
    nearest, second = distances[distances[:, 0] > 0].T
    if len(nearest) < FEWEST_POINTS:
        return float("nan")
    log_mu = np.sort(np.log(second / nearest))
    kept = max(2, int((1 - discard) * len(log_mu)))
    # The largest ratio has F = 1, whose logarithm diverges; it is always discarded.
    kept = min(kept, len(log_mu) - 1)
    log_tail = -np.log1p(-np.arange(1, kept + 1) / len(log_mu))
    slope_below = float((log_mu[:kept] ** 2).sum())
    if slope_below == 0:
        return float("nan")
    return float((log_mu[:kept] * log_tail).sum() / slope_below)
