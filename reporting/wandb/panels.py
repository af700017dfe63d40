"""Panels of the W&B workspace and report, only for keys that the runs have logged.

Imports wandb-workspaces and `reporting` only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import wandb_workspaces.reports.v2 as wr

from records.latents import ALL
from reporting.compare.groups import TEST_MAE, VALIDATION_MAE
from reporting.read.irreps import degree_of
from reporting.read.utilization import RELIANCE
from reporting.wandb.runs import Project
from reporting.words.titles import LATENT_TITLES


@dataclass
class PanelSection:
    """Panels that belong together.

    Attributes
    ----------
    name : str
    panels : list of panel
    columns : int
        Number of panels side by side.
    """

    name: str
    panels: list[Any]
    columns: int = 3


def answer_section(texts: Sequence[str]) -> PanelSection:
    """Make the section that is seen first.

    Parameters
    ----------
    texts : sequence of str
        Markdown, one text for each group of comparable runs.
    """
    return PanelSection(
        "Which irreps matter?", [wr.MarkdownPanel(markdown=text) for text in texts], columns=1
    )


def panel_sections(project: Project) -> list[PanelSection]:
    """Make all panels of a project. Sections without panels are left out."""
    sections = [
        PanelSection("Errors", _errors(project)),
        PanelSection("Training", _training(project)),
        PanelSection("Utilization of irreps", _utilization(project), columns=2),
        PanelSection("Latent space", _latent(project), columns=2),
        PanelSection("Runs side by side", _comparison(project), columns=1),
    ]
    return [section for section in sections if section.panels]


def _available(panels: Sequence[tuple[bool, Any]]) -> list[Any]:
    """Keep the panels whose keys were logged."""
    return [panel for is_logged, panel in panels if is_logged]


def error_key(project: Project) -> str:
    """Choose the error that runs are compared by: of the test, or of the validation without one."""
    return TEST_MAE if TEST_MAE in project.keys else VALIDATION_MAE


def unit_of(project: Project) -> str:
    """Return the unit of the errors; empty if runs have different units."""
    units = {run.unit for run in project.runs}
    return units.pop() if len(units) == 1 else ""


def _with_unit(text: str, unit: str) -> str:
    return f"{text} ({unit})" if unit else text


def line(title: str, *keys: str, log: bool = False) -> Any:
    """Make a line plot over epochs.

    Parameters
    ----------
    title : str
    *keys : str
        Keys that were logged.
    log : bool
        Whether the y axis is logarithmic.
    """
    return wr.LinePlot(title=title, x="epoch", y=list(keys), log_y=log or None)


def _errors(project: Project) -> list[Any]:
    error, unit = error_key(project), unit_of(project)
    name = "Test MAE" if error == TEST_MAE else "Validation MAE"
    has_error = error in project.keys
    has_size = "params/total" in project.config
    size, rate = wr.Config("params/total"), "throughput/molecules_per_s"
    scatter = wr.ScatterPlot(
        title=_with_unit(f"{name} against parameters", unit),
        x=size,
        y=wr.SummaryMetric(error),
        log_x=True,
        log_y=True,
    )
    cost = wr.ScatterPlot(
        title=_with_unit(f"{name} against molecules/s", unit),
        x=wr.SummaryMetric(rate),
        y=wr.SummaryMetric(error),
        log_x=True,
        log_y=True,
    )
    bars = wr.BarPlot(title=_with_unit(name, unit), metrics=[error])
    curves = line(_with_unit("Validation MAE by epoch", unit), VALIDATION_MAE, log=True)
    return _available(
        [
            (has_error and has_size, scatter),
            (has_error and rate in project.keys, cost),
            (has_error, bars),
            (VALIDATION_MAE in project.keys, curves),
            (has_error, _parallel(project, error)),
        ]
    )


def _parallel(project: Project, error: str) -> Any:
    columns: list[tuple[str, Any, bool, bool]] = [
        ("irreps", wr.Config("irreps"), "irreps" in project.config, False),
        ("parameters", wr.Config("params/total"), "params/total" in project.config, True),
        (
            "reachable parameters",
            wr.Config("params/reachable"),
            "params/reachable" in project.config,
            True,
        ),
        (
            "molecules/s",
            wr.SummaryMetric("throughput/molecules_per_s"),
            "throughput/molecules_per_s" in project.keys,
            True,
        ),
        (
            "best validation MAE",
            wr.SummaryMetric(VALIDATION_MAE),
            VALIDATION_MAE in project.keys,
            True,
        ),
        ("test MAE", wr.SummaryMetric(TEST_MAE), error == TEST_MAE, True),
    ]
    return wr.ParallelCoordinatesPlot(
        title="From irreps to error",
        columns=[
            wr.ParallelCoordinatesPlotColumn(metric=metric, display_name=name, log=log or None)
            for name, metric, is_logged, log in columns
            if is_logged
        ],
    )


def _training(project: Project) -> list[Any]:
    unit = unit_of(project)
    plots = [
        ("train/loss", "Training loss (standardized)", True),
        ("val/rmse", _with_unit("Validation RMSE", unit), True),
        ("val/objective", "Objective of the search", True),
        ("lr", "Learning rate", True),
        ("throughput/molecules_per_s", "Molecules per second", False),
    ]
    return [line(title, key, log=log) for key, title, log in plots if key in project.keys]


def _utilization(project: Project) -> list[Any]:
    unit = unit_of(project)
    keys = _keys_by_degree(project, rf"utilization/network/(\d+[eo])/{RELIANCE}")
    heatmap = wr.MediaBrowser(
        title="What each irrep of each layer is worth (use the slider for other epochs)",
        media_keys=["utilization/heatmap"],
        num_columns=1,
    )
    lines = line(
        _with_unit("Increase of the MAE when an irrep is removed from all layers", unit), *keys
    )
    symmetry = line("Rotation error", "equivariance/rotation_error", log=True)
    table = wr.WeavePanelSummaryTable(table_name="utilization/table")
    return _available(
        [
            ("utilization/heatmap" in project.keys, heatmap),
            (bool(keys), lines),
            ("utilization/table" in project.keys, table),
            ("equivariance/rotation_error" in project.keys, symmetry),
        ]
    )


def _latent(project: Project) -> list[Any]:
    umap = wr.MediaBrowser(
        title="UMAP of molecules (use the slider for other epochs)",
        media_keys=["latent/umap"],
        num_columns=1,
    )
    animation = wr.MediaBrowser(
        title="UMAP, all epochs", media_keys=["latent/animation"], num_columns=1
    )
    panels = _available(
        [
            ("latent/umap" in project.keys, umap),
            ("latent/animation" in project.keys, animation),
        ]
    )
    for metric, title in LATENT_TITLES.items():
        keys = _keys_by_degree(project, rf"latent/({ALL}|\d+[eo])/{metric}")
        if keys:
            panels.append(line(title, *keys))
    if "latent/molecules" in project.keys:
        panels.append(wr.WeavePanelSummaryTable(table_name="latent/molecules"))
    return panels


def _keys_by_degree(project: Project, pattern: str) -> list[str]:
    """Find the keys that match, all irreps together first, then in order of the degree."""
    found = [match for key in project.keys if (match := re.fullmatch(pattern, key))]
    found.sort(key=lambda match: (-1 if match[1] == ALL else degree_of(match[1]), match[1]))
    return [match[0] for match in found]


def _comparison(project: Project) -> list[Any]:
    error = error_key(project)
    return _available(
        [
            (True, wr.RunComparer(diff_only="split")),
            (error in project.keys, wr.ParameterImportancePlot(with_respect_to=error)),
        ]
    )
