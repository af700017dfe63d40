"""Figures, validated by Plotly's own Python classes, and the numbers they show."""

import math
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest

from records.latents import METRICS
from records.utilization import UtilizationTable
from reporting.compare.groups import group_runs
from reporting.compare.irrep_effects import irrep_effects
from reporting.compare.latent_spaces import latent_measures
from reporting.compare.set_comparison import standings
from reporting.plots import heatmaps as heatmap_plots
from reporting.plots.figure import value_axis
from reporting.plots.group_figures import draw_figures, draw_overview
from reporting.plots.palette import COLORS, color, symbol
from reporting.plots.signed_axis import SignedAxis
from reporting.read.runs import find_runs, read_run
from tests.reporting.conftest import SETS, one_group
from tests.reporting.synthetic_runs import write_run


def drawn_of(group):
    rows = standings(group, group.sets[0])
    found = draw_figures(group, rows, irrep_effects(group), latent_measures(group))
    return {figure.key: figure for figure in found}


@pytest.fixture(scope="module")
def drawn(sweep_group):
    return drawn_of(sweep_group)


def traces(figure, view=0, panel=0):
    return figure.views[view].panels[panel].data


def test_all_figures_are_there_and_valid_for_plotly(drawn):
    assert list(drawn) == ["worth", "size", "cost", "curves", "reliance", "heatmaps", "latent"]
    for figure in drawn.values():
        for view in figure.views:
            for panel in view.panels:
                go.Figure(data=panel.data, layout=panel.layout)  # refuses unknown properties


def test_errors_are_plotted_against_parameters_with_their_intervals(drawn, sweep_group):
    rows = {row.irrep_set.label: row for row in standings(sweep_group, sweep_group.sets[0])}
    means = [trace for trace in traces(drawn["size"]) if trace.get("showlegend", True)]
    assert len(means) == 4
    for trace in means:
        row = rows[trace["name"]]
        assert trace["x"] == [row.irrep_set.parameters]
        assert trace["y"][0] == pytest.approx(row.mae.mean, rel=1e-5)
        assert trace["error_y"]["array"][0] == pytest.approx(row.mae.half_width, rel=1e-5)
    seeds = [trace for trace in traces(drawn["size"]) if not trace.get("showlegend", True)]
    assert all(len(trace["y"]) == 3 for trace in seeds)


def test_learning_curves_have_the_seeds_range_as_a_band(drawn, sweep_group):
    low, high, mean = traces(drawn["curves"])[:3]
    curves = np.array(
        [[row["val/mae"] for row in run.trained_rows()] for run in sweep_group.sets[0].runs]
    )
    np.testing.assert_allclose(low["y"], curves.min(axis=0), rtol=1e-5)
    np.testing.assert_allclose(high["y"], curves.max(axis=0), rtol=1e-5)
    np.testing.assert_allclose(mean["y"], curves.mean(axis=0), rtol=1e-5)
    assert mean["x"] == [1, 2, 3, 4, 5, 6]
    assert high["fill"] == "tonexty"


def test_reliance_is_plotted_against_training_without(drawn, sweep_group):
    expected = [e for e in irrep_effects(sweep_group) if e.reliance and e.retrained]
    unit = 0.02 * min(min(sweep_group.errors_by_seed(one).values()) for one in sweep_group.sets)
    shown = {
        (trace["name"], text.splitlines()[0]): None
        for trace in traces(drawn["reliance"])
        for text in (text.replace("<br>", "\n") for text in trace["text"])
    }
    assert len(shown) == len(expected) == 4
    places = {
        trace["name"]: list(zip(trace["x"], trace["y"], strict=True))
        for trace in traces(drawn["reliance"])
    }
    for effect in expected:
        x, y = effect.retrained.estimate.mean, effect.reliance.mean
        place = (math.asinh(x / unit), math.asinh(y / unit))
        assert any(at == pytest.approx(place, rel=1e-5) for at in places[effect.irrep])


def test_an_interval_may_reach_below_zero_on_an_axis_of_both_signs():
    axis = SignedAxis([-3.0, 2000.0, math.nan], 1.0)
    bars = axis.error_bars([2.0], [(-3.0, 7.0)])
    assert axis.place(2.0) - bars["arrayminus"][0] == pytest.approx(math.asinh(-3.0), abs=1e-5)
    assert axis.place(2.0) + bars["array"][0] == pytest.approx(math.asinh(7.0), abs=1e-5)
    layout = axis.layout("more")
    expected = [
        "\N{MINUS SIGN}10",
        "\N{MINUS SIGN}1",
        "0",
        "+1",
        "+10",
        "+100",
        "+1,000",
        "+10,000",
    ]
    assert [text for text in layout["ticktext"] if text not in expected] == []
    assert layout["tickvals"] == sorted(layout["tickvals"])
    assert len(layout["tickvals"]) <= 9


def test_heatmaps_show_every_block_of_every_set(drawn):
    (relative, *_) = drawn["heatmaps"].views
    assert [panel.title for panel in relative.panels] == ["0e", "0e+1o", "0e+2e", "0e+1o+2e"]
    _, *inks = relative.panels[-1].data
    for values in inks:
        assert values["x"] == ["0e", "1o", "2e"]
        assert values["y"] == [*(f"layer {k}" for k in range(5)), "all layers"]
        assert "relied on<br>removed" in values["customdata"][0][0]
    assert [values["textfont"]["color"] for values in inks] == ["#000000", "#ffffff"]
    shown = sum(np.array([[z is not None for z in row] for row in v["z"]], int) for v in inks)
    assert (shown[:4] == 1).all(), "every cell has one ink"
    assert shown[4].tolist() == [1, 0, 0], "the last layer is trimmed to scalars"
    texts = ["".join(both) for both in zip(*(values["text"][0] for values in inks), strict=True)]
    assert all(text.endswith("%") for text in texts)


def test_unreachable_blocks_are_grey_and_without_number(tmp_path):
    path = write_run(tmp_path, "16x0e+16x1o", 0) / "utilization.csv"
    table = UtilizationTable(path, "meV")
    for epoch, measured in table.epochs.items():
        rows = [
            replace(row, channels=16, reachable=False) if row.irrep == "1o" else row
            for row in measured.rows
        ]
        table.add(epoch, replace(measured, rows=rows))
    grey, black, white = traces(drawn_of(one_group(tmp_path))["heatmaps"])
    for z_grey, *z in zip(grey["z"], black["z"], white["z"], strict=True):
        assert z_grey[0] is None
        assert [one[0] is None for one in z].count(False) == 1
        assert (z_grey[1], z[0][1], z[1][1]) == (1, None, None)


def test_latent_measures_stand_beside_the_untrained(drawn, sweep_group):
    before, after = traces(drawn["latent"])[1:3]
    mine = [
        m
        for m in latent_measures(sweep_group)
        if (m.block, m.metric) == ("all", "knn_r2_composition_free")
    ]
    np.testing.assert_allclose(before["x"], [m.untrained.mean for m in mine], rtol=1e-5)
    np.testing.assert_allclose(after["x"], [m.trained.mean for m in mine], rtol=1e-5)
    assert len(drawn["latent"].views) == len(METRICS)


def test_what_was_not_measured_is_not_drawn(tmp_path):
    path = write_run(tmp_path, "16x0e", 0, utilization=False)
    (path / "metrics.csv").unlink()
    assert list(drawn_of(one_group(tmp_path))) == ["size", "cost"]


def test_many_sets_draw_the_best_heatmaps_only(sweep_group, monkeypatch):
    monkeypatch.setattr(heatmap_plots, "MAX_HEATMAPS", 2)
    figure = drawn_of(sweep_group)["heatmaps"]
    assert [panel.title for panel in figure.views[0].panels] == ["0e+1o", "0e+1o+2e"]
    assert "2 more are in the CSV file" in figure.caption


def test_the_diagonal_of_equal_costs_spans_all_that_is_shown(drawn):
    panel = drawn["reliance"].views[0].panels[0]
    (line,) = panel.layout["shapes"]
    assert line["x0"] == line["y0"] < line["x1"] == line["y1"]
    for trace in panel.data:
        for name in ("x", "y"):
            bars = trace[f"error_{name}"]["array"]
            ends = [at + bar for at, bar in zip(trace[name], bars, strict=True)]
            assert max(ends) <= line["x1"] * 1.0001
    assert line["x0"] <= 0


def test_axes_are_logarithmic_only_over_a_wide_range():
    assert "type" not in value_axis("x", [10.0, 50.0])
    assert "type" not in value_axis("x", [-1.0, 1000.0])
    wide = value_axis("x", [30e3, 2e6, math.nan], si_prefixes=True)
    assert wide["type"] == "log"
    assert {"50k", "100k", "1M"} <= set(wide["ticktext"])
    assert value_axis("x", [])["title"] == {"text": "x"}


def test_sets_differ_in_colour_or_marker():
    looks = {(color(number), symbol(number)) for number in range(5 * len(COLORS))}
    assert len(looks) == 5 * len(COLORS)


def test_groups_that_differ_in_their_training_molecules_make_a_learning_curve(tmp_path):
    for size, mae in ((1000, 80.0), (4000, 40.0)):
        for irreps in SETS[:2]:
            for seed in (0, 1):
                write_run(
                    tmp_path,
                    irreps,
                    seed,
                    f"--data.train_size={size}",
                    **{"test/mae": mae + seed},
                )
    write_run(tmp_path, SETS[0], 0, "--data.target=gap")
    groups = group_runs([read_run(path) for path in find_runs([tmp_path])])
    assert len(groups) == 3
    (figure,) = draw_overview(groups)
    (view,) = figure.views
    (panel,) = view.panels
    go.Figure(data=panel.data, layout=panel.layout)
    assert [trace["name"] for trace in panel.data] == ["0e", "0e+1o"]
    assert panel.data[0]["x"] == [1000, 4000]
    assert panel.data[0]["y"] == [80.5, 40.5]
    assert panel.layout["xaxis"]["ticktext"] == ["1,000", "4,000"]
    assert draw_overview(groups[:1]) == []
