"""Intrinsic dimension of a point cloud, estimated from nearest neighbours.

Imports NumPy, `analysis.latent_metrics` and `records.latents`; scikit-learn where it is used.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.latent_metrics import NOT_MEASURED, bootstrap_estimate
from records.latents import Estimate

FEWEST_POINTS = 10
"""With fewer distinct points there is no estimate."""


def intrinsic_dimension(x_gd: ArrayLike, discard: float = 0.1, seed: int = 0) -> Estimate:
    """Estimate by TwoNN how many dimensions a point cloud fills locally.

    For points of locally constant density on a d-dimensional manifold, the ratio mu = r_2 / r_1
    of the distances to the second and first neighbour has F(mu) = 1 - mu^(-d). So
    -log(1 - F(mu)) = d log mu, fitted by a line through the origin, where F is the empirical
    distribution (Facco et al. 2017, doi:10.1038/s41598-017-11873-y).

    Estimates are too low in many dimensions, and the more so the fewer the points. So compare
    only clouds with equally many columns and equally many points.

    Parameters
    ----------
    x_gd : array
        [g, d] points.
    discard : float
        Fraction of points, those with the largest and least reliable mu, left out of the fit;
        in [0, 1).
    seed : int
        Seed of the interval's resamples.

    Returns
    -------
    Estimate
        NaN if fewer than `FEWEST_POINTS` points differ from their nearest neighbour, or if all
        ratios are 1.

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
        return NOT_MEASURED
    from sklearn.neighbors import NearestNeighbors

    # Centred, because scikit-learn's distances in many dimensions cancel far from the origin.
    x = x - x.mean(axis=0)
    distances, _ = NearestNeighbors(n_neighbors=2).fit(x).kneighbors()
    nearest, second = distances[distances[:, 0] > 0].T
    if len(nearest) < FEWEST_POINTS:
        return NOT_MEASURED
    log_mu = np.log(second / nearest)
    kept = max(2, int((1 - discard) * len(log_mu)))
    # F is 1 at the largest ratio, where the logarithm diverges; so that one is always discarded.
    kept = min(kept, len(log_mu) - 1)
    log_tail = -np.log1p(-np.arange(1, kept + 1) / len(log_mu))

    def slope(ratios: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        """Least-squares slope of a line through the origin."""
        x_fit = np.sort(np.moveaxis(ratios, axis, -1), axis=-1)[..., :kept]
        squares = (x_fit**2).sum(axis=-1)
        products = (x_fit * log_tail).sum(axis=-1)
        unknown = np.full_like(squares, np.nan)
        return np.asarray(np.divide(products, squares, out=unknown, where=squares > 0))

    return bootstrap_estimate(slope, log_mu, seed=seed)
