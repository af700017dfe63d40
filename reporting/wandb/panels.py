"""Panels of the W&B workspace and report: only of keys that runs have logged.

Imports wandb-workspaces and this package.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import wandb_workspaces.reports.v2 as wr

from reporting.read.irreps import degree
from reporting.wandb.runs import Project

LATENT = {
    "knn_r2_target": "R² of the target from neighbours",
    "knn_r2_complexity": "R² of the spatial score from neighbours",
    "trustworthiness": "Trustworthiness of the UMAP",
    "intrinsic_dimension": "Intrinsic dimension",
}


@dataclass
class PanelSection:
    """Panels that belong together.

    Attributes
    ----------
    name : str
    panels : list of panel
    columns : int
        Panels beside each other.
    """

    name: str
    panels: list[Any]
    columns: int = 3


def panel_sections(project: Project) -> list[PanelSection]:
    """Make all panels of a project.

    Parameters
    ----------
    project : Project

    Returns
    -------
    list of PanelSection
        Sections without panels are left out.
    """
    sections = [
        PanelSection("Errors", _errors(project)),
        PanelSection("Training", _training(project)),
        PanelSection("Utilization of irreps", _utilization(project), columns=2),
        PanelSection("Latent space", _latent(project), columns=2),
        PanelSection("Runs side by side", _comparison(project), columns=1),
    ]
    return [section for section in sections if section.panels]


def _known(panels: Sequence[tuple[bool, Any]]) -> list[Any]:
    """Keep the panels whose keys are known."""
    return [panel for is_known, panel in panels if is_known]


def error_key(project: Project) -> str:
    """Error that runs are compared by.

    Parameters
    ----------
    project : Project

    Returns
    -------
    str
        ``test/mae``, or ``val/mae`` if no run was tested.
    """
    return "test/mae" if "test/mae" in project.keys else "val/mae"


def unit_of(project: Project) -> str:
    """Find the unit of the errors, empty if runs have different ones.

    Parameters
    ----------
    project : Project

    Returns
    -------
    str
    """
    units = {run.unit for run in project.runs}
    return units.pop() if len(units) == 1 else ""


def _titled(text: str, unit: str) -> str:
    return f"{text} ({unit})" if unit else text


def line(title: str, *keys: str, log: bool = False) -> Any:
    """Make a line plot over epochs.

    Parameters
    ----------
    title : str
    *keys : str
        Logged keys.
    log : bool
        Whether the y axis is logarithmic.

    Returns
    -------
    LinePlot
        Grouped as the table of runs is.
    """
    return wr.LinePlot(title=title, x="epoch", y=list(keys), log_y=log or None)


def _errors(project: Project) -> list[Any]:
    error, unit = error_key(project), unit_of(project)
    name = "Test MAE" if error == "test/mae" else "Validation MAE"
    has_error = error in project.keys
    has_size = "params/total" in project.config
    size, rate = wr.Config("params/total"), "throughput/molecules_per_s"
    scatter = wr.ScatterPlot(
        title=_titled(f"{name} against parameters", unit),
        x=size,
        y=wr.SummaryMetric(error),
        log_x=True,
        log_y=True,
    )
    cost = wr.ScatterPlot(
        title=_titled(f"{name} against molecules/s", unit),
        x=wr.SummaryMetric(rate),
        y=wr.SummaryMetric(error),
        log_x=True,
        log_y=True,
    )
    bars = wr.BarPlot(title=_titled(name, unit), metrics=[error])
    curves = line(_titled("Validation MAE by epoch", unit), "val/mae", log=True)
    return _known(
        [
            (has_error and has_size, scatter),
            (has_error and rate in project.keys, cost),
            (has_error, bars),
            ("val/mae" in project.keys, curves),
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
        ("best validation MAE", wr.SummaryMetric("val/mae"), "val/mae" in project.keys, True),
        ("test MAE", wr.SummaryMetric("test/mae"), error == "test/mae", True),
    ]
    return wr.ParallelCoordinatesPlot(
        title="From irreps to error",
        columns=[
            wr.ParallelCoordinatesPlotColumn(metric=metric, display_name=name, log=log or None)
            for name, metric, is_known, log in columns
            if is_known
        ],
    )


def _training(project: Project) -> list[Any]:
    unit = unit_of(project)
    plots = [
        ("train/loss", "Training loss (standardized)", True),
        ("val/rmse", _titled("Validation RMSE", unit), True),
        ("val/objective", "Objective of the search", True),
        ("lr", "Learning rate", True),
        ("throughput/molecules_per_s", "Molecules per second", False),
    ]
    return [line(title, key, log=log) for key, title, log in plots if key in project.keys]


def _utilization(project: Project) -> list[Any]:
    unit = unit_of(project)
    keys = _sorted(project, r"utilization/network/(\d+[eo])/ablation")
    heatmap = wr.MediaBrowser(
        title="Layers and irreps: what each is worth (slide through the epochs)",
        media_keys=["utilization/heatmap"],
        num_columns=1,
    )
    lines = line(_titled("MAE gained by removing an irrep from all layers", unit), *keys)
    symmetry = line("Rotation error", "equivariance/rotation_error", log=True)
    table = wr.WeavePanelSummaryTable(table_name="utilization/table")
    return _known(
        [
            ("utilization/heatmap" in project.keys, heatmap),
            (bool(keys), lines),
            ("utilization/table" in project.keys, table),
            ("equivariance/rotation_error" in project.keys, symmetry),
        ]
    )


def _latent(project: Project) -> list[Any]:
    umap = wr.MediaBrowser(
        title="UMAP of molecules (slide through the epochs)",
        media_keys=["latent/umap"],
        num_columns=1,
    )
    animation = wr.MediaBrowser(
        title="UMAP, all epochs", media_keys=["latent/animation"], num_columns=1
    )
    panels = _known(
        [
            ("latent/umap" in project.keys, umap),
            ("latent/animation" in project.keys, animation),
        ]
    )
    for metric, title in LATENT.items():
        keys = _sorted(project, rf"latent/(all|\d+[eo])/{metric}")
        if keys:
            panels.append(line(title, *keys))
    if "latent/molecules" in project.keys:
        panels.append(wr.WeavePanelSummaryTable(table_name="latent/molecules"))
    return panels


def _sorted(project: Project, pattern: str) -> list[str]:
    """Keys that match, by the degree of their irrep; all irreps together first."""
    found = [match for key in project.keys if (match := re.fullmatch(pattern, key))]
    found.sort(key=lambda match: (-1 if match[1] == "all" else degree(match[1]), match[1]))
    return [match[0] for match in found]


def _comparison(project: Project) -> list[Any]:
    error = error_key(project)
    return _known(
        [
            (True, wr.RunComparer(diff_only="split")),
            (error in project.keys, wr.ParameterImportancePlot(with_respect_to=error)),
        ]
    )
