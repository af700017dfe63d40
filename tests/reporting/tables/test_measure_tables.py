"""The measures of a group, in tables and figures, against the files that they come from."""

import csv
import io

import numpy as np
import plotly.graph_objects as go
import pytest
from scipy import stats

from records.decomposition import read_decomposition
from records.nested import read_nested
from records.utilization import read_table
from reporting.compare.baselines import compare_with_baselines
from reporting.compare.decompositions import decompositions
from reporting.compare.irrep_effects import irrep_effects, pair_effects
from reporting.compare.latent_spaces import latent_measures
from reporting.compare.nested_subsets import nested_subsets
from reporting.compare.set_comparison import standings
from reporting.plots.group_figures import draw_figures
from reporting.tables import group_tables, measure_tables
from reporting.tables.table import Table, to_markdown
from tests.reporting.conftest import one_group
from tests.reporting.synthetic_runs import write_run

MEASURES = ("missed", "refitted", "resampled", "reliance", "probe")


def read(table: Table) -> list[dict]:
    return list(csv.DictReader(io.StringIO(table.to_csv())))


def network_rows(run, irrep):
    (utilization,) = read_table(run.path / "utilization_best.csv").values()
    return [row for row in utilization.rows if row.layer == "network" and row.irrep == irrep]


@pytest.fixture(scope="module")
def effects(measured_group):
    return irrep_effects(measured_group)


def test_every_measure_is_a_mean_over_seeds_with_its_verdicts(measured_group, effects):
    written = read(measure_tables.irreps_table(measured_group, effects))
    assert [row["irrep"] for row in written] == ["1o", "2e", "1o", "2e"]
    row, irrep_set = written[2], measured_group.sets[3]
    rows = [block for run in irrep_set.runs for block in network_rows(run, "1o")]
    for name in MEASURES:
        values = [block.effects[name].value for block in rows]
        interval = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
        assert float(row[name]) == pytest.approx(np.mean(values))
        ends = float(row[f"{name}_low"]), float(row[f"{name}_high"])
        assert ends == pytest.approx(interval)
    assert row["missed_verdicts"] == "missed 3 of 3"
    assert row["probe_verdicts"] == "undecided 3 of 3"


def test_scalars_have_a_table_of_their_own_that_says_why(measured_group, effects):
    table = measure_tables.scalars_table(measured_group, effects)
    assert {row["irrep"] for row in read(table)} == {"0e"}
    assert "not to be ranked" in table.note


def test_one_network_has_its_interval_over_molecules(tmp_path):
    run = write_run(tmp_path, "16x0e+16x1o", 0, measures=True)
    group = one_group(tmp_path)
    (row,) = read(measure_tables.irreps_table(group, irrep_effects(group)))
    (utilization,) = read_table(run / "utilization_best.csv").values()
    effect = next(r for r in utilization.rows if (r.layer, r.irrep) == ("network", "1o"))
    assert float(row["missed_low"]) == pytest.approx(effect.effects["missed"].low)


def test_pairs_say_what_goes_beyond_the_sum(measured_group):
    (pair,) = pair_effects(measured_group)
    maes = [run.final_utilization().mae for run in pair.irrep_set.runs]
    assert pair.irreps == ("1o", "2e")
    # Written as the sum of both plus half of the MAE.
    assert pair.missed_interaction.mean == pytest.approx(np.mean(maes) / 2)
    (row,) = measure_tables.pairs_table(measured_group, [pair]).rows
    assert row[-1].note == "more than the sum 3 of 3"


def test_pairs_are_compared_with_sets_that_were_trained_without_both(measured_group):
    (pair,) = pair_effects(measured_group)
    ours, without = (
        [run.number("test/mae") for run in sorted(one.runs, key=lambda run: run.seed)]
        for one in (pair.irrep_set, measured_group.sets[0])
    )
    assert measured_group.sets[0].irreps == "16x0e"
    assert pair.retrained.estimate.mean == pytest.approx(np.mean(without) - np.mean(ours))
    (row,) = read(measure_tables.pairs_table(measured_group, [pair]))
    assert float(row["retrained"]) == pytest.approx(pair.retrained.estimate.mean)


def test_without_a_set_to_compare_with_pairs_have_no_such_column(tmp_path):
    write_run(tmp_path, "16x0e+16x1o+16x2e", 0, measures=True)
    group = one_group(tmp_path)
    (pair,) = pair_effects(group)
    assert pair.retrained is None
    (row,) = read(measure_tables.pairs_table(group, [pair]))
    assert "retrained" not in row


def test_baselines_are_those_of_the_same_molecules(measured_group):
    learning = compare_with_baselines(measured_group)
    assert learning.best.predictor == "bonds"
    assert learning.best.mae.mean == 481.0
    for one in measured_group.sets:
        shares = [run.number("test/mae") / (480.0 + run.seed) for run in one.runs]
        assert learning.multiples[one.irreps].mean == pytest.approx(np.mean(shares))
    table = group_tables.baselines_table(measured_group, learning)
    assert [row["mae"] for row in read(table)] == ["7145", "861", "481"]


def test_terms_and_subsets_are_means_over_seeds(measured_group):
    (scalars,) = (
        term
        for term in decompositions(measured_group)
        if term.name == "0" and term.irrep_set is measured_group.sets[3]
    )
    runs = measured_group.sets[3].runs
    sds = [read_decomposition(run.path / "decomposition.csv").terms[1].sd for run in runs]
    assert scalars.sd.mean == pytest.approx(np.mean(sds))
    (nested,) = nested_subsets(measured_group)
    last = [max(read_nested(run.path / "nested.csv").items())[1] for run in runs]
    values = [one.mae["0"].value for one in last]
    assert nested.mae["0"].mean == pytest.approx(np.mean(values))
    assert nested.shapley[2].mean == 8.0
    texts = {row["degrees"] for row in read(measure_tables.subsets_table(measured_group, [nested]))}
    assert {"l = 0", "l = 0,1,2", "adding l = 1"} <= texts


def test_latent_spaces_stand_beside_their_confounds(measured_group):
    measured = latent_measures(measured_group)
    rows = read(measure_tables.latent_table(measured))
    row = next(r for r in rows if r["metric"] == "knn_r2_composition_free" and r["block"] == "1o")
    assert [float(row[name]) for name in ("trained", "untrained", "element_counts")] == (
        pytest.approx([0.81, 0.31, -0.03])
    )
    assert row["num_molecules"] == "1000"
    assert float(row["trained_low"]) < 0.81 < float(row["trained_high"])
    summary = measure_tables.latent_summary_table(measured_group, measured)
    assert "1,000 molecules" in summary.caption


def test_figures_of_measures_are_valid_for_plotly(measured_group, effects):
    rows = standings(measured_group, measured_group.sets[0])
    drawn = {
        figure.key: figure
        for figure in draw_figures(measured_group, rows, effects, latent_measures(measured_group))
    }
    assert {"worth", "decomposition", "nested", "latent"} <= set(drawn)
    for figure in drawn.values():
        for view in figure.views:
            for panel in view.panels:
                go.Figure(data=panel.data, layout=panel.layout)
    panel = drawn["worth"].views[0].panels[0]
    assert panel.layout["yaxis"]["ticktext"] == ["1o", "2e", "1o + 2e"]
    assert len(panel.layout["xaxis"]["tickvals"]) <= 9
    # Positions follow the inverse hyperbolic sine, so that order and sign are kept.
    missed = next(trace for trace in panel.data if trace["legendgroup"] == "missed")
    estimates = [e.effects["missed"].estimate for e in effects if e.irrep_set.label == "0e+1o+2e"]
    unit = 0.05 * rows[0].mae.mean
    expected = [np.arcsinh(estimate.mean / unit) for estimate in estimates[1:]]
    np.testing.assert_allclose(missed["x"][:2], expected, rtol=1e-5)
    # Trained without each, and without both.
    ours, *others = (
        np.mean([run.number("test/mae") for run in measured_group.find(irreps).runs])
        for irreps in ("16x0e+16x1o+16x2e", "16x0e+16x2e", "16x0e+16x1o", "16x0e")
    )
    retrained = next(trace for trace in panel.data if trace["legendgroup"] == "retrained")
    expected = [np.arcsinh((other - ours) / unit) for other in others]
    np.testing.assert_allclose(retrained["x"], expected, rtol=1e-5)


def test_markdown_has_the_same_cells_as_the_page(measured_group, effects):
    table = measure_tables.irreps_table(measured_group, effects)
    lines = to_markdown(table).splitlines()
    assert lines[0] == f"**{table.caption}**"
    assert lines[2] == table.note
    rows = [line for line in lines if line.startswith("|")][2:]
    for line, row in zip(rows, table.rows, strict=True):
        for cell in row[: len(table.columns)]:
            assert cell.text in line
            assert cell.note in line
