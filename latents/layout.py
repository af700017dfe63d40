"""UMAP layouts that stay comparable from one epoch to the next.

Imports NumPy; scikit-learn and umap-learn where they are used (10-30 s the first time).
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

Layout = NDArray[np.float32]

FRAME = 1.9
"""Half the width of a picture, in units of the layout's root-mean-square radius."""
FIRST_EPOCHS = 300
"""Optimization epochs of a layout that starts from nothing."""
NEXT_EPOCHS = 100
"""Optimization epochs of a layout that starts from an earlier one."""


def umap_layout(
    x_gd: ArrayLike,
    previous_g2: ArrayLike | None = None,
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    seed: int = 0,
) -> Layout:
    """Lay points out in the plane by UMAP, starting from an earlier layout of the same points.

    The neighbours are found exactly and handed to umap-learn, which for a few thousand points
    would otherwise call Python once a pair: ten times slower, for the same graph.

    Parameters
    ----------
    x_gd : array
        [g, d] finite numbers, standardized.
    previous_g2 : array, optional
        [g, 2] layout to start from; by default a spectral one.
    n_neighbors : int
        Size of the neighbourhoods; there must be more points than that.
    min_dist : float
        Smallest distance between points of the layout, in UMAP's own units.
    seed : int
        Same seed and same input, same layout to the last bit on one machine.

    Returns
    -------
    array
        [g, 2] float32, in UMAP's own units and orientation (see `comparable`).
    """
    from umap import UMAP

    x = np.asarray(x_gd, dtype=np.float32)
    first = previous_g2 is None
    with warnings.catch_warnings():
        # Only the neighbours of these points are known, so that new ones cannot be placed later.
        warnings.filterwarnings("ignore", message="precomputed_knn")
        # Islands of molecules: umap-learn places them by its own means and says so.
        warnings.filterwarnings("ignore", category=UserWarning, module="umap|sklearn")
        layout = UMAP(
            n_neighbors=n_neighbors,
            min_dist=min_dist,
            n_epochs=FIRST_EPOCHS if first else NEXT_EPOCHS,
            init="spectral" if previous_g2 is None else np.array(previous_g2, dtype=np.float32),
            precomputed_knn=nearest_neighbors(x, n_neighbors),
            random_state=seed,
            n_jobs=1,
        ).fit_transform(x)
    return np.asarray(layout, dtype=np.float32)


def nearest_neighbors(
    x_gd: ArrayLike, n_neighbors: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Find each point's nearest points as umap-learn wants them: itself first, at distance 0.

    scikit-learn gives a point's distance to itself only to rounding, and umap-learn takes any
    distance above 0 for that of a neighbour, which would change the whole graph.

    Parameters
    ----------
    x_gd : array
        [g, d].
    n_neighbors : int
        Number of columns, the point itself included.

    Returns
    -------
    indices : array
        [g, n_neighbors] int32.
    distances : array
        [g, n_neighbors] float32, ascending.
    """
    from sklearn.neighbors import NearestNeighbors

    x = np.asarray(x_gd)
    others, indices = NearestNeighbors(n_neighbors=n_neighbors - 1).fit(x).kneighbors()
    itself = np.arange(len(x))[:, None]
    return (
        np.hstack([itself, indices]).astype(np.int32),
        np.hstack([np.zeros_like(others[:, :1]), others]).astype(np.float32),
    )


def comparable(layout_g2: ArrayLike, reference_g2: ArrayLike | None = None) -> Layout:
    """Bring a layout to the reference's place, size and orientation, within a fixed frame.

    A layout's position, rotation, reflection and scale mean nothing. So it is centred, turned
    (or mirrored) onto the reference as well as a rigid motion can (orthogonal Procrustes:
    R = U V^T of the singular value decomposition of layout^T reference), and divided by its
    root-mean-square radius. If points then lie outside +-`FRAME`, it is shifted, and where that
    is not enough shrunk, by no more than what brings them in.

    Parameters
    ----------
    layout_g2 : array
        [g, 2] finite numbers.
    reference_g2 : array, optional
        [g, 2] layout of the same points. Rows that are NaN do not count.

    Returns
    -------
    array
        [g, 2] float32, all within +-`FRAME`.
    """
    layout = np.asarray(layout_g2, dtype=np.float64)
    layout = layout - layout.mean(axis=0)
    if reference_g2 is not None:
        reference = np.asarray(reference_g2, dtype=np.float64)
        known = np.isfinite(reference).all(axis=1)
        if known.any():
            centred = reference[known] - reference[known].mean(axis=0)
            u, _, vt = np.linalg.svd(layout[known].T @ centred)
            layout = layout @ (u @ vt)
    radius = np.sqrt((layout**2).sum(axis=1).mean())
    layout = layout / (radius if radius > 0 else 1.0)
    edge = 0.96 * FRAME  # keeps the outermost points' markers off the frame
    layout /= max(1.0, np.ptp(layout, axis=0).max() / (2 * edge))
    layout -= np.maximum(layout.max(axis=0) - edge, 0.0)
    layout += np.maximum(-edge - layout.min(axis=0), 0.0)
    return layout.astype(np.float32)
