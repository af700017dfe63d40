"""TwoNN on point clouds whose dimension is known."""

import numpy as np
import pytest
from scipy.stats import ortho_group

from analysis.intrinsic_dimension import intrinsic_dimension


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_cube_in_a_space_of_twenty_dimensions(dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    cube = np.zeros((2000, 20))
    cube[:, :dimension] = rng.uniform(size=(2000, dimension))
    turned = cube @ ortho_group.rvs(20, random_state=0)
    estimate = intrinsic_dimension(turned)
    assert estimate.value == pytest.approx(dimension, rel=0.1)
    assert intrinsic_dimension(40 * turned + 3).value == pytest.approx(estimate.value)


def test_sphere_has_two_dimensions() -> None:
    x = np.random.default_rng(0).normal(size=(2000, 3))
    sphere = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert intrinsic_dimension(sphere).value == pytest.approx(2, rel=0.1)


def test_slope_is_the_least_squares_line_through_the_origin() -> None:
    x = np.random.default_rng(1).normal(size=(300, 4))
    distances = np.sort(np.linalg.norm(x[:, None] - x[None], axis=-1), axis=1)
    log_mu = np.sort(np.log(distances[:, 2] / distances[:, 1]))[:270]
    log_tail = -np.log(1 - np.arange(1, 271) / 300)
    slope, *_ = np.linalg.lstsq(log_mu[:, None], log_tail, rcond=None)
    assert intrinsic_dimension(x).value == pytest.approx(float(slope[0]), rel=1e-9)


def test_interval_is_as_wide_as_estimates_of_new_points_scatter() -> None:
    rng = np.random.default_rng(3)
    estimates = [intrinsic_dimension(rng.uniform(size=(400, 3))) for _ in range(60)]
    scatter = np.std([estimate.value for estimate in estimates])
    half_widths = [(estimate.high - estimate.low) / 2 for estimate in estimates]
    assert np.median(half_widths) == pytest.approx(1.96 * scatter, rel=0.35)
    assert {estimate.num_molecules for estimate in estimates} == {400}


def test_duplicates_do_not_count() -> None:
    x = np.random.default_rng(2).uniform(size=(500, 2))
    assert intrinsic_dimension(np.vstack([x, x[:3]])).value == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize(
    "x",
    [np.zeros((50, 3)), np.random.default_rng(0).normal(size=(9, 3)), np.arange(50.0)[:, None]],
    ids=["one point", "too few", "lattice"],
)
def test_degenerate_clouds_are_nan(x: np.ndarray) -> None:
    assert np.isnan(intrinsic_dimension(x).value)


def test_unusable_input_is_named() -> None:
    with pytest.raises(ValueError, match="finite numbers"):
        intrinsic_dimension(np.full((20, 2), np.inf))
    with pytest.raises(ValueError, match="discard is 1"):
        intrinsic_dimension(np.eye(20), discard=1)
