"""Means over seeds and paired differences, against SciPy."""

import numpy as np
import pytest
from scipy import stats

from reporting.compare.set_comparison import FEWEST_PAIRS, compare_with_best, standings
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
        np.testing.assert_allclose(row.difference.estimate.p_value, expected.pvalue)


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
    assert difference.estimate.count < FEWEST_PAIRS
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
