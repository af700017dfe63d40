"""Seed statistics against SciPy; Holm's method against a published example and a definition."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reporting.compare.statistics import (
    holm,
    mean_interval,
    mean_of_finite,
    paired_difference,
)

VALUES = st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 3)), min_size=2, max_size=8)


@given(VALUES.filter(lambda v: np.std(v) > 1e-6), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_mean_and_interval_match_scipy(values, confidence):
    estimate = mean_interval(values, confidence)
    low, high = stats.t.interval(confidence, len(values) - 1, np.mean(values), stats.sem(values))
    np.testing.assert_allclose([estimate.low, estimate.high], [low, high], rtol=1e-9, atol=1e-9)
    p_value = stats.ttest_1samp(values, 0).pvalue
    np.testing.assert_allclose(estimate.p_value, p_value, rtol=1e-6, atol=1e-12)


@given(VALUES, st.integers(0, 99))
def test_paired_difference_matches_scipy_on_common_seeds(values, seed):
    other = np.random.default_rng(seed).normal(size=len(values))
    mine = dict(enumerate(values)) | {100: 1e9}
    theirs = dict(enumerate(other.tolist())) | {101: -1e9}
    estimate = paired_difference(mine, theirs)
    expected = stats.ttest_rel(values, other)
    assert estimate.count == len(values)
    np.testing.assert_allclose(estimate.p_value, expected.pvalue, rtol=1e-6, atol=1e-12)
    interval = expected.confidence_interval(0.95)
    np.testing.assert_allclose([estimate.low, estimate.high], interval, rtol=1e-9, atol=1e-9)


def test_pairing_removes_what_seeds_share():
    seeds = {0: 10.0, 1: 50.0, 2: 90.0}
    better = {seed: value - 1 - 0.01 * seed for seed, value in seeds.items()}
    difference = paired_difference(better, seeds)
    assert difference.high < 0
    assert stats.ttest_ind(list(better.values()), list(seeds.values())).pvalue > 0.9


def test_one_seed_has_no_interval():
    estimate = mean_interval([45.0])
    assert (estimate.mean, estimate.count, estimate.has_interval) == (45.0, 1, False)
    assert all(math.isnan(x) for x in (estimate.sd, estimate.low, estimate.high, estimate.p_value))
    assert mean_interval([45.0, 46.0]).has_interval


def test_equal_values_have_an_interval_of_no_width():
    same = mean_interval([2.0, 2.0, 2.0])
    assert (same.low, same.high, same.p_value) == (2.0, 2.0, 0.0)
    assert math.isnan(mean_interval([0.0, 0.0]).p_value)


def test_no_common_seed_no_difference():
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


def test_holm_on_the_example_of_its_usual_presentation():
    # p = 0.01, 0.04, 0.03, 0.005 at alpha = 0.05: H4 (4 x 0.005) and H1 (3 x 0.01) are rejected,
    # H3 (2 x 0.03) is not, and so neither is H2.
    adjusted = holm([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(adjusted, [0.03, 0.06, 0.06, 0.02])
    assert (adjusted <= 0.05).tolist() == [True, False, False, True]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7), st.floats(0.001, 0.999))
def test_holm_rejects_what_its_definition_rejects(p_values, alpha):
    adjusted = holm(p_values)
    rejected = set()
    for rank, index in enumerate(np.argsort(p_values, kind="stable").tolist()):
        if p_values[index] > alpha / (len(p_values) - rank):
            break
        rejected.add(index)
    # At a p-value that hits its limit, division and multiplication round differently.
    clear = [i for i, p in enumerate(adjusted) if abs(p - alpha) > 1e-9]
    assert {i for i in clear if adjusted[i] <= alpha} == rejected & set(clear)


def test_holm_leaves_out_what_was_not_tested():
    adjusted = holm([0.02, math.nan, 0.03])
    np.testing.assert_allclose(adjusted, [0.04, math.nan, 0.04])
    assert holm([]).size == 0


def test_means_leave_out_what_is_not_finite():
    assert mean_of_finite([1.0, math.nan, 4.0, math.inf]) == 2.5
    assert math.isnan(mean_of_finite([math.nan]))
    assert math.isnan(mean_of_finite([]))


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_unusable_values_are_refused(values):
    with pytest.raises(ValueError, match="at least one value|not all finite"):
        mean_interval(values)


def test_unusable_levels_are_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        mean_interval([1.0, 2.0], confidence=95)
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([1.5])
