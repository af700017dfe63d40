"""Layouts are brought to one place, and UMAP's graph is umap-learn's own."""

import warnings

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from latents.layout import HALF_WIDTH, align, nearest_neighbors

LAYOUT = np.random.default_rng(0).normal(size=(100, 2)) * [3.0, 1.0]


def rigid(angle: float, mirrored: bool) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]]) @ np.diag([1, -1 if mirrored else 1])


@pytest.mark.parametrize("mirrored", [False, True])
def test_turned_scaled_and_shifted_layout_comes_back(mirrored: bool) -> None:
    reference = align(LAYOUT)
    moved = 7.5 * LAYOUT @ rigid(2.0, mirrored).T + [30, -4]
    np.testing.assert_allclose(align(moved, reference), reference, atol=1e-5)


def test_size_is_one_where_that_fits() -> None:
    ring = np.stack([np.cos(np.arange(60)), np.sin(np.arange(60))], axis=1)
    centred = align(ring) - align(ring).mean(axis=0)
    assert np.sqrt((centred**2).sum(axis=1).mean()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("distance", [5.0, 1000.0])
def test_an_island_stays_in_the_frame(distance: float) -> None:
    layout = LAYOUT.copy()
    layout[:4] += [0, -distance]
    placed = align(layout)
    assert np.abs(placed).max() < HALF_WIDTH
    # Only moved and scaled, nothing cut off.
    scale = np.ptp(placed, axis=0) / np.ptp(layout, axis=0)
    assert scale[0] == pytest.approx(scale[1], rel=1e-4)


def test_missing_reference_points_do_not_count() -> None:
    reference = align(LAYOUT)
    partial = reference.copy()
    partial[::3] = np.nan
    moved = LAYOUT @ rigid(1.0, True).T
    np.testing.assert_allclose(align(moved, partial), reference, atol=1e-5)
    assert np.isfinite(align(moved, np.full_like(partial, np.nan))).all()


def test_all_in_one_place_is_left_there() -> None:
    assert not align(np.ones((20, 2))).any()


def test_neighbours_match_brute_force_and_start_with_the_point_itself() -> None:
    x = np.random.default_rng(3).normal(size=(80, 30)).astype(np.float32) + 100
    indices, distances = nearest_neighbors(x, 7)
    whole = cdist(x.astype(np.float64), x.astype(np.float64))
    assert np.array_equal(indices, np.argsort(whole, axis=1)[:, :7])
    assert not distances[:, 0].any()
    np.testing.assert_allclose(distances, np.sort(whole, axis=1)[:, :7], rtol=1e-3)


def test_graph_is_umap_learns_own() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # of parts that need TensorFlow
        from umap.umap_ import fuzzy_simplicial_set
    x = np.random.default_rng(4).normal(size=(60, 20)).astype(np.float32)
    indices, distances = nearest_neighbors(x, 10)
    state = np.random.RandomState(0)
    ours, *_ = fuzzy_simplicial_set(
        x, 10, state, "euclidean", knn_indices=indices, knn_dists=distances
    )
    own, *_ = fuzzy_simplicial_set(cdist(x, x), 10, state, "precomputed")
    np.testing.assert_allclose(ours.toarray(), own.toarray(), atol=1e-4)
