"""Intervals: coverage in simulation, a plain loop, and what must stay untouched."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analysis.bootstrap import STD_FLOOR, bootstrap_interval

REPLICAS = 2000


def replicas(name: str, size: int) -> tuple[torch.Tensor, float]:
    """Independent samples in columns [size, REPLICAS], and the mean of their distribution."""
    generator = torch.Generator().manual_seed(5)
    normal = torch.randn(2, size, REPLICAS, generator=generator, dtype=torch.float64)
    if name == "normal":
        return normal[0] + 1, 1.0
    if name == "exponential":  # as skewed as per-molecule effects get
        return -torch.rand(size, REPLICAS, generator=generator, dtype=torch.float64).log(), 1.0
    # An error of unit size that a removal changes by an independent 1.5: |e + d| - |e|.
    paired = (normal[0] + 1.5 * normal[1]).abs() - normal[0].abs()
    return paired, float(np.sqrt(2 / np.pi) * (np.hypot(1, 1.5) - 1))


@pytest.mark.parametrize("size", [60, 250])
@pytest.mark.parametrize("name", ["normal", "exponential", "paired"])
def test_interval_covers_the_true_mean_at_its_nominal_rate(name: str, size: int) -> None:
    values, truth = replicas(name, size)
    low, high = bootstrap_interval(values, num_resamples=1000)
    # Three standard errors of a rate of 0.95 over the replicas are 0.015.
    assert ((low <= truth) & (truth <= high)).double().mean() == pytest.approx(0.95, abs=0.015)
    for tail in (low > truth, high < truth):
        assert tail.double().mean() == pytest.approx(0.025, abs=0.0125)


def test_interval_equals_a_loop_over_resamples() -> None:
    values = torch.randn(9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = values.numpy()
    drawn = torch.randint(9, (50, 9), generator=torch.Generator().manual_seed(7)).numpy()
    ts = []
    for row in drawn:
        std = max(x[row].std(ddof=1), STD_FLOOR * x.std(ddof=1))
        ts.append((x[row].mean() - x.mean()) / std)
    low, high = bootstrap_interval(values, num_resamples=50, seed=7, level=0.8)
    assert low.item() == pytest.approx(x.mean() - np.quantile(ts, 0.9) * x.std(ddof=1))
    assert high.item() == pytest.approx(x.mean() - np.quantile(ts, 0.1) * x.std(ddof=1))


def test_interval_scales_and_shifts_with_the_values() -> None:
    values = replicas("exponential", 30)[0][:, :4].reshape(30, 2, 2)
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
