"""Layouts are brought to one place; UMAP itself runs in the worker's tests."""

import numpy as np
import pytest

from analysis.umap_layout import FRAME, comparable

LAYOUT = np.random.default_rng(0).normal(size=(100, 2)) * [3.0, 1.0]


def rigid(angle: float, mirrored: bool) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]]) @ np.diag([1, -1 if mirrored else 1])


@pytest.mark.parametrize("mirrored", [False, True])
def test_turned_scaled_and_shifted_layout_comes_back(mirrored: bool) -> None:
    reference = comparable(LAYOUT)
    moved = 7.5 * LAYOUT @ rigid(2.0, mirrored).T + [30, -4]
    np.testing.assert_allclose(comparable(moved, reference), reference, atol=1e-5)


def test_size_is_one_where_that_fits() -> None:
    ring = np.stack([np.cos(np.arange(60)), np.sin(np.arange(60))], axis=1)
    centred = comparable(ring) - comparable(ring).mean(axis=0)
    assert np.sqrt((centred**2).sum(axis=1).mean()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("distance", [5.0, 1000.0])
def test_an_island_stays_in_the_frame(distance: float) -> None:
    layout = LAYOUT.copy()
    layout[:4] += [0, -distance]
    placed = comparable(layout)
    assert np.abs(placed).max() < FRAME
    # Only moved and scaled, nothing cut off.
    scale = np.ptp(placed, axis=0) / np.ptp(layout, axis=0)
    assert scale[0] == pytest.approx(scale[1], rel=1e-4)


def test_missing_reference_points_do_not_count() -> None:
    reference = comparable(LAYOUT)
    partial = reference.copy()
    partial[::3] = np.nan
    moved = LAYOUT @ rigid(1.0, True).T
    np.testing.assert_allclose(comparable(moved, partial), reference, atol=1e-5)
    assert np.isfinite(comparable(moved, np.full_like(partial, np.nan))).all()


def test_all_in_one_place_is_left_there() -> None:
    assert not comparable(np.ones((20, 2))).any()
