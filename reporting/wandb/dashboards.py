"""A saved workspace and a report in W&B, updated when they are there already.

Imports wandb-workspaces where it is needed, and this package.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

from reporting.compare.groups import Group, check_reference, choose_reference, differing, make_groups
from reporting.wandb.runs import Project, read_project, server_errors
from reporting.words.summary import Summary, summarize

NAME = "Irrepscope"
MARK = "Written by Irrepscope's report.py, which replaces its text."
"""Begins the description of our reports: how an earlier one is found again."""
COLUMNS = (
    "config:irreps.value",
    "config:seed_everything.value",
    "config:params/total.value",
    "config:params/reachable.value",
    "summary:throughput/molecules_per_s",
    "summary:epoch",
    "summary:val/mae",
    "summary:test/mae",
    "config:unit.value",
    "config:target.value",
    "config:graph.value",
)
"""Columns of the table of runs, in this order, where runs have them."""
WIDTH = 24
"""Columns of the grid on which a report's panels lie."""


def save_dashboards(path: str, sweep: str | None, reference: str | None = None) -> list[str]:
    """Save workspace and report of a project or sweep.

    Parameters
    ----------
    path : str
        ``ENTITY/PROJECT``.
    sweep : str, optional
        Only this sweep's runs.
    reference : str, optional
        Irreps that the report compares with.

    Returns
    -------
    list of str
        Lines that say what was saved and where.

    Raises
    ------
    ReportError
        If there is no API key, no such project, or there are no runs.
    OSError
        If the server fails.
    """
    project = read_project(path, sweep)
    groups = make_groups(project.runs)
    if reference is not None:
        check_reference(groups, reference)
    with server_errors(path):
        workspace, is_new_workspace = save_workspace(project, groups)
        report, is_new_report = save_report(project, groups, reference, workspace)
    saved = {True: "saved", False: "updated"}
    return [
        f"Workspace {saved[is_new_workspace]}: {workspace}",
        f"Report {saved[is_new_report]}: {report}",
    ]


# ---- workspace ------------------------------------------------------------------------------


def save_workspace(project: Project, groups: Sequence[Group]) -> tuple[str, bool]:
    """Save the workspace, in place of an earlier one.

    Parameters
    ----------
    project : Project
    groups : sequence of Group

    Returns
    -------
    url : str
    is_new : bool
    """
    import wandb_workspaces.workspaces as ws

    from reporting.wandb.panels import panel_sections

    sections = [
        ws.Section(
            name=section.name,
            panels=section.panels,
            is_open=True,
            layout_settings=ws.SectionLayoutSettings(columns=section.columns, rows=2),
        )
        for section in panel_sections(project)
    ]
    workspace = ws.Workspace(
        entity=project.entity,
        project=project.name,
        name=_title(project),
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=30),
        runset_settings=ws.RunsetSettings(
            filters=_filters(project),
            groupby=[ws.Config(key) for key in _groupings(project, groups)],
            order=[ws.Ordering(ws.Summary(_order_key(project)))],
            pinned_columns=_columns(project),
        ),
    )
    # A view's name is its address: the same for the same project and sweep, so found again.
    workspace._internal_name = view_name(project)
    workspace._internal_id = _earlier_view(project)
    is_new = not workspace._internal_id
    workspace.save()
    return str(workspace.url), is_new


def view_name(project: Project) -> str:
    """Name that W&B keeps our workspace by.

    Parameters
    ----------
    project : Project

    Returns
    -------
    str
        In W&B's form ``nw-…-v``, with eleven characters in between.
    """
    text = f"{NAME} {project.path} {project.sweep or ''}"
    digest = base64.b32encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"nw-{digest.lower()[:11]}-v"


def _earlier_view(project: Project) -> str:
    """Id of the workspace that an earlier call saved; empty without one."""
    import wandb
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces._graphql import get_app_url

    short = view_name(project).removeprefix("nw-").removesuffix("-v")
    base = get_app_url(wandb.Api()).rstrip("/")
    try:
        found = ws.Workspace.from_url(f"{base}/{project.path}?nw={short}")
    except ValueError as error:
        if "not found in project" in str(error):
            return ""
        raise
    return str(found._internal_id)


def _title(project: Project) -> str:
    return f"{NAME}: sweep {project.sweep}" if project.sweep else NAME


def _filters(project: Project, *further: Any) -> Any:
    """Filter for the sweep and whatever else; nothing filters nothing."""
    from wandb_workspaces import expr

    conditions = [*further]
    if project.sweep:
        conditions.append(expr.Metric("Sweep") == project.sweep)
    return expr.And(*conditions) if conditions else ""


def _order_key(project: Project) -> str:
    from reporting.wandb.panels import error_key

    return error_key(project)


def _groupings(project: Project, groups: Sequence[Group]) -> list[str]:
    """Name the keys to group runs by: what makes them incomparable first, then irreps.

    The suffix ``.value`` says that a key with dots is one key and no path.
    """
    searched = any(run.configuration.get("model.channels_l0") is not None for run in project.runs)
    irreps = "irreps" if searched else "model.irreps"
    keys = [*differing(groups), irreps]
    return [f"{key}.value" for key in keys if key in project.config]


def _columns(project: Project) -> list[str]:
    known = []
    for column in COLUMNS:
        section, _, key = column.partition(":")
        logged = project.config if section == "config" else project.keys
        if key.removesuffix(".value") in logged:
            known.append(column)
    return ["run:displayName", "run:state", *known]


# ---- report ---------------------------------------------------------------------------------


def save_report(
    project: Project, groups: Sequence[Group], reference: str | None, workspace: str
) -> tuple[str, bool]:
    """Save the report, in place of an earlier one.

    Parameters
    ----------
    project : Project
    groups : sequence of Group
    reference : str, optional
        Irreps that sets are compared with.
    workspace : str
        Address of the workspace.

    Returns
    -------
    url : str
    is_new : bool
    """
    import wandb_workspaces.reports.v2 as wr

    report = wr.Report(
        entity=project.entity,
        project=project.name,
        title=f"{_title(project)}: which irreps matter?",
        description=f"{MARK} {_subject(project)}",
        width="fluid",
        blocks=_blocks(project, groups, reference, workspace),
    )
    report.id = _earlier_report(project)
    is_new = not report.id
    report.save()
    return str(report.url), is_new


def _subject(project: Project) -> str:
    return f"About sweep {project.sweep}." if project.sweep else "About the whole project."


def _earlier_report(project: Project) -> str:
    """Id of the report that an earlier call saved; empty without one."""
    import wandb

    for found in wandb.Api().reports(project.path):
        if found.description == f"{MARK} {_subject(project)}":
            return str(found.id)
    return ""


def _blocks(
    project: Project, groups: Sequence[Group], reference: str | None, workspace: str
) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    from reporting.wandb.panels import panel_sections

    blocks: list[Any] = [
        wr.P(
            [
                f"{len(project.runs)} runs of {project.path}. ",
                wr.Link(text="The same as a workspace", url=workspace),
                ".",
            ]
        ),
        wr.TableOfContents(),
    ]
    for group in groups:
        blocks.append(wr.H1(group.name))
        summary = summarize(group, choose_reference(group, reference))
        blocks.append(wr.MarkdownBlock(text=to_markdown(summary)))
    for section in panel_sections(project):
        blocks.append(wr.H1(section.name))
        _place(section.panels, section.columns)
        blocks.append(wr.PanelGrid(runsets=[_runset(project, groups)], panels=section.panels))
    return blocks


def to_markdown(summary: Summary) -> str:
    """Write a summary as Markdown.

    Parameters
    ----------
    summary : Summary

    Returns
    -------
    str
    """
    parts = [*summary.best, *summary.seeds]
    for title, texts in (
        ("What each irrep is worth", summary.irreps),
        ("What cannot be concluded yet", summary.unknown),
    ):
        if texts:
            parts.append(f"### {title}")
            parts.append("\n".join(f"- {text}" for text in texts))
    return "\n\n".join(parts)


def _place(panels: Sequence[Any], columns: int) -> None:
    import wandb_workspaces.reports.v2 as wr

    width = WIDTH // columns
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        panel.layout = wr.Layout(x=column * width, y=row * 9, w=width, h=9)


def _runset(project: Project, groups: Sequence[Group]) -> Any:
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces import expr

    return wr.Runset(
        entity=project.entity,
        project=project.name,
        name="Finished runs",
        filters=_filters(project, expr.Metric("State") == "finished"),
        groupby=[f"config.{key}" for key in _groupings(project, groups)],
        order=[wr.OrderBy(wr.SummaryMetric(_order_key(project)), ascending=True)],
        pinned_columns=_columns(project),
    )
