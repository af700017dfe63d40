"""Means, differences and what irreps are worth, against SciPy and the written files."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from records.names import NETWORK
from reporting.compare.comparison import FEWEST_PAIRS, rivals, standings
from reporting.compare.statistics import holm
from reporting.compare.worth import cells, latent_measures, worths
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


def test_rivals_are_compared_with_the_best(sweep_group, rows):
    lead = rivals(sweep_group, rows[0].irrep_set)
    assert len(lead) == 3
    assert all(difference.estimate.mean > 0 for difference in lead)


def test_two_seeds_establish_nothing(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path, "16x0e", seed, **{"test/mae": 50.0 + seed})
        write_run(tmp_path, "16x0e+16x1o", seed, **{"test/mae": 10.0 + 1.001 * seed})
    group = one_group(tmp_path)
    (difference,) = rivals(group, group.sets[1])
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


def test_worth_is_ablation_in_the_last_epoch_and_loss_from_training_without(sweep_group):
    found = {(worth.irrep_set.label, worth.irrep): worth for worth in worths(sweep_group)}
    assert len(found) == 1 + 2 + 2 + 3
    worth = found["0e+1o+2e", "1o"]
    ablations, relative = [], []
    for run in worth.irrep_set.runs:
        with (run.path / "utilization.csv").open() as file:
            for row in csv.DictReader(file):
                if (row["epoch"], row["layer"], row["irrep"]) == ("5", NETWORK, "1o"):
                    ablations.append(float(row["ablation"]))
                    relative.append(float(row["ablation"]) / float(row["mae"]))
    assert worth.ablation.count == len(ablations) == 3
    np.testing.assert_allclose(worth.ablation.mean, np.mean(ablations))
    np.testing.assert_allclose(worth.relative, np.mean(relative))
    assert worth.untrained == 0.0
    assert worth.verdicts.total() == 3
    without = {run.seed: run.number("test/mae") for run in sweep_group.find("16x0e+16x2e").runs}
    with_it = {run.seed: run.number("test/mae") for run in worth.irrep_set.runs}
    expected = np.mean([without[seed] - with_it[seed] for seed in range(3)])
    np.testing.assert_allclose(worth.retrained.estimate.mean, expected)
    assert found["0e", "0e"].retrained is None


def test_cells_tell_unreachable_from_absent(tmp_path):
    write_run(tmp_path, "16x0e+16x1o", 0)
    (trimmed,) = one_group(tmp_path).sets
    by_place = {(cell.layer, cell.irrep): cell for cell in cells(trimmed)}
    assert by_place["layer4", "1o"].verdict == "absent"
    assert by_place["layer0", "0e"].verdict == "used"
    cell = by_place[NETWORK, "1o"]
    np.testing.assert_allclose(
        cell.values["relative"],
        cell.values["ablation"] / trimmed.runs[0].last_utilization()[0].mae,
    )


def test_latent_measures_are_the_last_and_the_first_epochs(sweep_group):
    found = {(m.irrep_set.label, m.block, m.metric): m for m in latent_measures(sweep_group)}
    measure = found["0e+1o", "1o", "knn_r2_target"]
    runs = measure.irrep_set.runs
    key = "latent/1o/knn_r2_target"
    np.testing.assert_allclose(measure.trained, np.mean([r.metrics[5][key] for r in runs]))
    np.testing.assert_allclose(measure.untrained, np.mean([r.metrics[-1][key] for r in runs]))
    assert ("0e", "0e", "knn_r2_target") not in found, "a single irrep is all of them"


def test_without_utilization_nothing_is_known_but_retraining(tmp_path: Path):
    for irreps in ("16x0e", "16x0e+16x1o"):
        write_run(tmp_path, irreps, 0, utilization=False)
    group = one_group(tmp_path)
    worth = next(w for w in worths(group) if w.irrep == "1o")
    assert worth.ablation is None
    assert math.isnan(worth.relative)
    assert worth.retrained is not None
    assert cells(group.sets[0]) == []
