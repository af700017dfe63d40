"""Intervals: coverage in simulation, a plain loop, and what must stay untouched."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from analysis.bootstrap import STD_FLOOR, bootstrap_interval
from benchmarks.coverage import joint_coverage, single_coverage
from tests.analysis.effects import effects, true_mean


@pytest.mark.parametrize("size", [30, 60, 200])
@pytest.mark.parametrize(
    "name", ["near zero", "near zero, heavy tails", "heavy tails", "lognormal"]
)
def test_interval_covers_the_true_mean_at_its_nominal_rate(name: str, size: int) -> None:
    """Of 3,000 samples each; the standard error of the rate is 0.004."""
    assert single_coverage(name, size, samples=3000) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("name", ["near zero", "near zero, heavy tails", "heavy tails"])
def test_simultaneous_intervals_cover_all_true_means_together(name: str) -> None:
    """Twelve blocks on 200 molecules, 500 samples; the standard error of the rate is 0.01."""
    assert joint_coverage(name, 200, 12, samples=500) == pytest.approx(0.95, abs=0.025)


@pytest.mark.parametrize("name", ["near zero", "near zero, heavy tails", "heavy tails"])
def test_simultaneous_intervals_of_few_molecules_err_on_the_safe_side(name: str) -> None:
    assert joint_coverage(name, 30, 12, samples=300) > 0.93


def test_intervals_that_do_not_hold_together_miss_some_of_many_blocks() -> None:
    """Otherwise the tests above would say little: 12 intervals of 95 % hold 0.95^12 of the time."""
    values = effects("near zero", (1, 200, 12 * 400), torch.Generator().manual_seed(0))[0]
    low, high = bootstrap_interval(values)
    truth = true_mean("near zero")
    inside = ((low <= truth) & (truth <= high)).view(400, 12).all(1)
    assert inside.double().mean() < 0.75


def test_interval_equals_a_loop_over_resamples() -> None:
    values = torch.randn(9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = values.numpy()
    drawn = torch.randint(9, (50, 9), generator=torch.Generator().manual_seed(7)).numpy()
    ts = []
    for row in drawn:
        std = max(x[row].std(ddof=1), STD_FLOOR * x.std(ddof=1))
        ts.append((x[row].mean() - x.mean()) / std)
    student = scipy.stats.t.ppf(0.9, df=8) / 3
    upper, lower = max(np.quantile(ts, 0.9), student), min(np.quantile(ts, 0.1), -student)
    low, high = bootstrap_interval(values, num_resamples=50, seed=7, level=0.8)
    assert low.item() == pytest.approx(x.mean() - upper * x.std(ddof=1))
    assert high.item() == pytest.approx(x.mean() - lower * x.std(ddof=1))


def test_interval_is_never_narrower_than_students() -> None:
    values = effects("lognormal", (50, 30, 1), torch.Generator().manual_seed(1))[..., 0].T
    low, high = bootstrap_interval(values)
    expected = scipy.stats.t.interval(
        0.95, 29, values.mean(0).numpy(), values.std(0).numpy() / 30**0.5
    )
    assert (low.numpy() <= expected[0] + 1e-12).all()
    assert (high.numpy() >= expected[1] - 1e-12).all()


def test_interval_scales_and_shifts_with_the_values() -> None:
    values = effects("lognormal", (30, 2, 2), torch.Generator().manual_seed(0))
    low, high = bootstrap_interval(values)
    other_low, other_high = bootstrap_interval(1000 * values - 5)
    torch.testing.assert_close(other_low, 1000 * low - 5)
    torch.testing.assert_close(other_high, 1000 * high - 5)


def test_interval_of_equal_values_is_a_point_and_of_one_value_unknown() -> None:
    low, high = bootstrap_interval(torch.full((20,), 3.0))
    assert low == high == 3
    low, high = bootstrap_interval(torch.ones(1))
    assert low.isnan()
    assert high.isnan()


def test_interval_stays_finite_if_few_molecules_carry_the_effect() -> None:
    values = torch.zeros(100)
    values[3] = 1.0
    low, high = bootstrap_interval(values)
    assert -1 < low < high < 1


def test_global_random_state_is_not_touched() -> None:
    before = torch.get_rng_state()
    bootstrap_interval(torch.arange(5.0))
    assert torch.equal(torch.get_rng_state(), before)


def test_unusable_input_is_refused() -> None:
    with pytest.raises(ValueError, match="no molecules"):
        bootstrap_interval(torch.zeros(0, 3))
    with pytest.raises(ValueError, match="level"):
        bootstrap_interval(torch.zeros(3), level=1.0)
