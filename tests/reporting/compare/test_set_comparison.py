"""Means over seeds and paired differences, against SciPy."""

import numpy as np
import pytest
from scipy import stats

from reporting.compare.set_comparison import (
    FEWEST_SEEDS,
    MARGIN,
    Relation,
    compare_with_best,
    paired_test_needs,
    standings,
)
from reporting.compare.statistics import holm
from tests.reporting.conftest import one_group
from tests.reporting.synthetic_runs import write_run


@pytest.fixture(scope="module")
def rows(sweep_group):
    return standings(sweep_group, sweep_group.sets[0])


def test_standings_are_means_and_paired_differences(sweep_group, rows):
    assert [row.mae.mean for row in rows] == sorted(row.mae.mean for row in rows)
    reference = np.array([run.number("test/mae") for run in sweep_group.sets[0].runs])
    for row in rows:
        values = np.array([run.number("test/mae") for run in row.irrep_set.runs])
        interval = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
        np.testing.assert_allclose((row.mae.low, row.mae.high), interval)
        if row.difference is None:
            assert row.irrep_set is sweep_group.sets[0]
            continue
        expected = stats.ttest_rel(values, reference)
        np.testing.assert_allclose(row.difference.estimate.mean, (values - reference).mean())
        np.testing.assert_allclose(row.difference.paired.p_value, expected.pvalue)


def test_intervals_beside_are_those_of_the_scatter_pooled_over_all_sets(sweep_group, rows):
    sets = [[run.number("test/mae") for run in one.runs] for one in sweep_group.sets]
    # An analysis of variance divides the variance between sets by the pooled one.
    between = 3 * np.var([np.mean(values) for values in sets], ddof=1)
    error = np.sqrt(between / stats.f_oneway(*sets).statistic)
    for row in rows:
        half = stats.t.ppf(0.975, 8) * error / np.sqrt(3)
        np.testing.assert_allclose(row.pooled.half_width, half)
        if row.difference is not None:
            t = row.difference.estimate.mean / (error * np.sqrt(2 / 3))
            np.testing.assert_allclose(
                row.difference.estimate.p_value, 2 * stats.t.sf(abs(t), 8), rtol=1e-6
            )


def test_p_values_are_corrected_over_all_sets(rows):
    found = [row.difference for row in rows if row.difference is not None]
    adjusted = holm([difference.estimate.p_value for difference in found])
    np.testing.assert_allclose([difference.adjusted_p for difference in found], adjusted)
    assert max(adjusted) > max(difference.estimate.p_value for difference in found) * 0.99


def test_every_other_set_is_compared_with_the_best(sweep_group, rows):
    lead = compare_with_best(sweep_group, rows[0].irrep_set)
    assert len(lead) == 3
    assert all(difference.estimate.mean > 0 for difference in lead)


def test_two_seeds_establish_nothing(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path, "16x0e", seed, **{"test/mae": 50.0 + seed})
        write_run(tmp_path, "16x0e+16x1o", seed, **{"test/mae": 10.0 + 1.001 * seed})
    group = one_group(tmp_path)
    (difference,) = compare_with_best(group, group.sets[1])
    assert difference.adjusted_p < 0.001
    assert difference.relation is Relation.UNDECIDED
    assert difference.estimate.count < FEWEST_SEEDS
    assert not difference.established


def test_seeds_that_only_one_set_has_are_no_pairs(tmp_path):
    for seed in range(3):
        write_run(tmp_path, "16x0e", seed)
    write_run(tmp_path, "16x0e+16x1o", 2)
    write_run(tmp_path, "16x0e+16x2e", 9)
    group = one_group(tmp_path)
    rows = {row.irrep_set.label: row for row in standings(group, group.sets[0])}
    assert rows["0e+1o"].difference.estimate.count == 1
    assert rows["0e+2e"].difference is None


@pytest.mark.parametrize(
    ("errors", "relation"),
    [
        ([100.5, 99.6, 100.1], Relation.EQUIVALENT),
        ([103.0, 103.3, 102.8], Relation.EQUIVALENT),
        ([120.0, 119.0, 121.0], Relation.WORSE),
        ([80.0, 79.0, 81.0], Relation.BETTER),
        ([104.0, 95.0, 107.0], Relation.UNDECIDED),
    ],
)
def test_sets_are_equivalent_within_five_percent_or_not(tmp_path, errors, relation):
    reference = [100.0, 99.0, 101.0]
    for seed, (value, other) in enumerate(zip(errors, reference)):
        write_run(tmp_path, "16x0e", seed, **{"test/mae": other})
        write_run(tmp_path, "16x0e+16x1o", seed, **{"test/mae": value})
    group = one_group(tmp_path)
    (row,) = (r for r in standings(group, group.sets[0]) if r.difference is not None)
    assert row.difference.relation is relation
    # With two sets, the pooled tests are SciPy's with equal variances.
    margin = MARGIN * 100.0
    above = stats.ttest_ind(np.add(errors, margin), reference, alternative="greater").pvalue
    below = stats.ttest_ind(np.subtract(errors, margin), reference, alternative="less").pvalue
    np.testing.assert_allclose(row.difference.equivalence_p, max(above, below), rtol=1e-6)
    both = stats.ttest_ind(errors, reference)
    np.testing.assert_allclose(row.difference.estimate.p_value, both.pvalue, rtol=1e-6)
    interval = both.confidence_interval(0.95)
    np.testing.assert_allclose(
        (row.difference.estimate.low, row.difference.estimate.high), interval, rtol=1e-6
    )


def test_paired_differences_of_three_seeds_need_a_large_t(sweep_group, rows):
    found = [row.difference for row in rows if row.difference is not None]
    np.testing.assert_allclose(paired_test_needs(found), stats.t.ppf(1 - 0.05 / 6, 2))
    np.testing.assert_allclose(paired_test_needs([*found, *found[:2], *found]), 12.59, rtol=1e-3)
    assert np.isnan(paired_test_needs([]))
