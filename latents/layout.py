"""UMAP layouts that stay comparable from one epoch to the next.

Imports NumPy; SciPy, scikit-learn and umap-learn where they are used (10-30 s the first time).
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

Layout = NDArray[np.float32]

HALF_WIDTH = 1.9
"""Half the width of a picture, in units of the layout's root-mean-square radius."""
MARGIN = 0.96
"""Fraction of `HALF_WIDTH` that points may fill, so that their markers stay off the frame."""
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

    The neighbours are found exactly and handed to umap-learn. Left to itself, umap-learn calls
    Python once per pair of points at these sizes: ten times slower, for the same graph.

    Parameters
    ----------
    x_gd : array
        [g, d] finite numbers, standardized.
    previous_g2 : array, optional
        [g, 2] layout to start from; by default a spectral one.
    n_neighbors : int
        Size of the neighbourhoods; must be smaller than the number of points.
    min_dist : float
        Smallest distance between points of the layout, in UMAP's own units.
    seed : int
        The same seed and input give the same layout to the last bit on one machine.

    Returns
    -------
    array
        [g, 2] float32, in UMAP's own units and orientation (see `align`).
    """
    from umap import UMAP

    x = np.asarray(x_gd, dtype=np.float32)
    first = previous_g2 is None
    with warnings.catch_warnings():
        # umap-learn warns that it cannot place new points later; nobody asks it to.
        warnings.filterwarnings("ignore", message="precomputed_knn")
        # A graph that falls into islands: umap-learn warns and places them by its own means.
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
    """Find each point's nearest points as umap-learn wants them: the point first, at distance 0.

    scikit-learn returns a point's distance to itself with a rounding error. umap-learn takes any
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
    own = np.arange(len(x))[:, None]
    return (
        np.hstack([own, indices]).astype(np.int32),
        np.hstack([np.zeros_like(others[:, :1]), others]).astype(np.float32),
    )


def align(layout_g2: ArrayLike, reference_g2: ArrayLike | None = None) -> Layout:
    """Bring a layout to the reference's place, size and orientation, within a fixed frame.

    UMAP leaves the position, rotation, reflection and scale of a layout arbitrary. So the layout
    is centred, rotated or mirrored onto the reference (orthogonal Procrustes), and divided by its
    root-mean-square radius. If points then lie beyond +-`HALF_WIDTH`, the layout is shifted, and
    where that is not enough shrunk, by just what brings them in.

    Parameters
    ----------
    layout_g2 : array
        [g, 2] finite numbers.
    reference_g2 : array, optional
        [g, 2] layout of the same points. Rows with NaN are ignored.

    Returns
    -------
    array
        [g, 2] float32, all within +-`HALF_WIDTH`.
    """
    layout = np.asarray(layout_g2, dtype=np.float64)
    layout = layout - layout.mean(axis=0)
    if reference_g2 is not None:
        layout = _rotate_onto(layout, np.asarray(reference_g2, dtype=np.float64))
    radius = np.sqrt((layout**2).sum(axis=1).mean())
    layout = layout / (radius if radius > 0 else 1.0)
    edge = MARGIN * HALF_WIDTH
    layout /= max(1.0, np.ptp(layout, axis=0).max() / (2 * edge))
    layout -= np.maximum(layout.max(axis=0) - edge, 0.0)
    layout += np.maximum(-edge - layout.min(axis=0), 0.0)
    return np.asarray(layout, dtype=np.float32)


def _rotate_onto(
    layout_g2: NDArray[np.float64], reference_g2: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Rotate or mirror a centred layout onto a reference, as far as the reference is known."""
    from scipy.linalg import orthogonal_procrustes

    known = np.isfinite(reference_g2).all(axis=1)
    if not known.any():
        return layout_g2
    centred = reference_g2[known] - reference_g2[known].mean(axis=0)
    rotation, _ = orthogonal_procrustes(layout_g2[known], centred)
    return np.asarray(layout_g2 @ rotation)
