"""What irreps and latent spaces are measured to be, against the written files."""

import csv
import math
from pathlib import Path

import numpy as np

from records.names import NETWORK
from reporting.compare.irrep_effects import ABSENT, block_means, irrep_effects
from reporting.compare.latent_spaces import latent_measures
from tests.reporting.conftest import one_group
from tests.reporting.synthetic_runs import write_run


def test_effects_are_reliance_in_the_last_epoch_and_loss_from_training_without(sweep_group):
    found = {
        (effect.irrep_set.label, effect.irrep): effect for effect in irrep_effects(sweep_group)
    }
    assert len(found) == 1 + 2 + 2 + 3
    effect = found["0e+1o+2e", "1o"]
    reliances, relative = [], []
    for run in effect.irrep_set.runs:
        with (run.path / "utilization.csv").open() as file:
            for row in csv.DictReader(file):
                if (row["epoch"], row["layer"], row["irrep"]) == ("5", NETWORK, "1o"):
                    reliances.append(float(row["reliance"]))
                    relative.append(float(row["reliance"]) / float(row["mae"]))
    assert effect.reliance.count == len(reliances) == 3
    np.testing.assert_allclose(effect.reliance.mean, np.mean(reliances))
    np.testing.assert_allclose(effect.relative_reliance, np.mean(relative))
    assert effect.untrained_reliance == 0.0
    assert effect.verdicts.total() == 3
    without = {run.seed: run.number("test/mae") for run in sweep_group.find("16x0e+16x2e").runs}
    with_it = {run.seed: run.number("test/mae") for run in effect.irrep_set.runs}
    expected = np.mean([without[seed] - with_it[seed] for seed in range(3)])
    np.testing.assert_allclose(effect.retrained.estimate.mean, expected)
    assert found["0e", "0e"].retrained is None


def test_blocks_tell_unreachable_from_absent(tmp_path):
    write_run(tmp_path, "16x0e+16x1o", 0)
    (trimmed,) = one_group(tmp_path).sets
    by_place = {(block.layer, block.irrep): block for block in block_means(trimmed)}
    assert by_place["layer4", "1o"].verdict == ABSENT
    assert by_place["layer0", "0e"].verdict == "relied on"
    block = by_place[NETWORK, "1o"]
    np.testing.assert_allclose(
        block.values["relative"],
        block.values["reliance"] / trimmed.runs[0].final_utilization().mae,
    )


def test_latent_measures_are_the_last_and_the_first_epochs(sweep_group):
    found = {(m.irrep_set.label, m.block, m.metric): m for m in latent_measures(sweep_group)}
    measure = found["0e+1o", "1o", "knn_r2_target"]
    runs = measure.irrep_set.runs
    key = "latent/1o/knn_r2_target"
    np.testing.assert_allclose(measure.trained.mean, np.mean([r.metrics[5][key] for r in runs]))
    before = [run.metrics[-1][key] for run in runs]
    np.testing.assert_allclose(measure.untrained.mean, np.mean(before))
    assert ("0e", "0e", "knn_r2_target") not in found, "a single irrep is all of them"


def test_without_utilization_nothing_is_known_but_retraining(tmp_path: Path):
    for irreps in ("16x0e", "16x0e+16x1o"):
        write_run(tmp_path, irreps, 0, utilization=False)
    group = one_group(tmp_path)
    effect = next(e for e in irrep_effects(group) if e.irrep == "1o")
    assert effect.reliance is None
    assert math.isnan(effect.relative_reliance)
    assert effect.retrained is not None
    assert block_means(group.sets[0]) == []
