"""A workspace and a report in W&B. Saving them again updates the earlier ones.

Imports `reporting`; wandb-workspaces only when it is needed, as the import is slow.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

from reporting.build import make_section
from reporting.compare.groups import (
    Group,
    check_reference,
    differing_options,
    group_runs,
)
from reporting.html.page import Section
from reporting.tables.table import to_markdown
from reporting.wandb.runs import Project, read_project, server_errors
from reporting.words.findings import Findings

NAME = "Irrepscope"
MARK = "Written by Irrepscope's report.py, which replaces its text."
"""Begins the description of our reports, by which an earlier one is found again."""
COLUMNS = (
    "config:irreps.value",
    "config:seed_everything.value",
    "summary:test/mae",
    "summary:val/mae",
)
"""Columns of the table of runs, after name and state. Those that no run has are left out."""
GRID_COLUMNS = 24
"""Width of the grid on which W&B places the panels of a report."""
PANEL_HEIGHT = 9
"""Rows of that grid per panel."""


def save_dashboards(path: str, sweep: str | None, reference: str | None = None) -> list[str]:
    """Save a workspace and a report for a project or a sweep.

    Parameters
    ----------
    path : str
        ``ENTITY/PROJECT``.
    sweep : str, optional
        Sweep to limit the runs to.
    reference : str, optional
        Irreps of the set that the others are compared with.

    Returns
    -------
    list of str
        What was saved and where, one line each.

    Raises
    ------
    ReportError
        If there is no API key, no such project or no run.
    OSError
        If the server fails.
    """
    project = read_project(path, sweep)
    groups = group_runs(project.runs)
    if reference is not None:
        check_reference(groups, reference)
    with server_errors(path):
        workspace, is_new_workspace = save_workspace(project, groups, reference)
        report, is_new_report = save_report(project, groups, reference, workspace)
    saved = {True: "saved", False: "updated"}
    return [
        f"Workspace {saved[is_new_workspace]}: {workspace}",
        f"Report {saved[is_new_report]}: {report}",
    ]


# ---- workspace ------------------------------------------------------------------------------


def save_workspace(
    project: Project, groups: Sequence[Group], reference: str | None = None
) -> tuple[str, bool]:
    """Save the workspace, in place of an earlier one.

    Parameters
    ----------
    project : Project
    groups : sequence of Group
    reference : str, optional
        Irreps of the set that the others are compared with.

    Returns
    -------
    url : str
        Address of the workspace.
    is_new : bool
        Whether there was no earlier one.
    """
    import wandb_workspaces.workspaces as ws

    from reporting.wandb.panels import answer_section, error_key, panel_sections

    answers = [_answer(make_section("", group, reference)) for group in groups]
    sections = [
        ws.Section(
            name=section.name,
            panels=section.panels,
            is_open=True,
            layout_settings=ws.SectionLayoutSettings(columns=section.columns, rows=2),
        )
        for section in [answer_section(answers), *panel_sections(project)]
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
            order=[ws.Ordering(ws.Summary(error_key(project)))],
            pinned_columns=_columns(project),
        ),
    )
    # The address of a view is its name. The same project and sweep always have the same name, by
    # which an earlier workspace is found again.
    workspace._internal_name = view_name(project)
    workspace._internal_id = _earlier_view(project)
    is_new = not workspace._internal_id
    workspace.save()
    return str(workspace.url), is_new


def _answer(section: Section) -> str:
    """Write what the page shows first: the best set, what to train, what each irrep is worth."""
    parts = [f"## {section.group.name}", *section.findings.answer]
    tables = [table for table in section.tables if table.key == "irreps" and table.rows]
    return "\n\n".join([*parts, *(to_markdown(table) for table in tables)])


def view_name(project: Project) -> str:
    """Derive the internal name of our workspace: W&B's ``nw-…-v`` with eleven characters within."""
    text = f"{NAME} {project.path} {project.sweep or ''}"
    digest = base64.b32encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"nw-{digest.lower()[:11]}-v"


def _earlier_view(project: Project) -> str:
    """Find the id of the workspace that an earlier call saved; empty if there is none."""
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


def _filters(project: Project, *conditions: Any) -> Any:
    """Combine conditions with the one that limits the runs to the project's sweep."""
    from wandb_workspaces import expr

    if project.sweep:
        conditions = (*conditions, expr.Metric("Sweep") == project.sweep)
    return expr.And(*conditions) if conditions else ""


def _groupings(project: Project, groups: Sequence[Group]) -> list[str]:
    """List the keys to group runs by: options that make runs incomparable first, then irreps.

    The suffix ``.value`` tells W&B that a key with dots is a single key and not a path.
    """
    by_multiplicity = any(
        run.configuration.get("model.channels_l0") is not None for run in project.runs
    )
    irreps = "irreps" if by_multiplicity else "model.irreps"
    keys = [*differing_options(groups), irreps]
    return [f"{key}.value" for key in keys if key in project.config]


def _columns(project: Project) -> list[str]:
    available = []
    for column in COLUMNS:
        section, _, key = column.partition(":")
        logged = project.config if section == "config" else project.keys
        if key.removesuffix(".value") in logged:
            available.append(column)
    return ["run:displayName", "run:state", *available]


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
        Irreps of the set that the others are compared with.
    workspace : str
        Address of the workspace.

    Returns
    -------
    url : str
        Address of the report.
    is_new : bool
        Whether there was no earlier one.
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
    """Find the id of the report that an earlier call saved; empty if there is none."""
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
        section = make_section("", group, reference)
        blocks.append(wr.H1(group.name))
        blocks.append(wr.MarkdownBlock(text=findings_in_markdown(section.findings)))
        tables = [*section.tables, *section.further_tables]
        blocks += [wr.MarkdownBlock(text=to_markdown(table)) for table in tables]
    for panels in panel_sections(project):
        blocks.append(wr.H1(panels.name))
        _lay_out(panels.panels, panels.columns)
        blocks.append(wr.PanelGrid(runsets=[_runset(project, groups)], panels=panels.panels))
    return blocks


def findings_in_markdown(findings: Findings) -> str:
    """Write findings as Markdown."""
    parts = [*findings.opening]
    for title, texts in (
        ("What each irrep is worth", findings.irreps),
        ("What cannot be concluded yet", findings.unknown),
    ):
        if texts:
            parts.append(f"### {title}")
            parts.append("\n".join(f"- {text}" for text in texts))
    return "\n\n".join(parts)


def _lay_out(panels: Sequence[Any], columns: int) -> None:
    import wandb_workspaces.reports.v2 as wr

    width = GRID_COLUMNS // columns
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        panel.layout = wr.Layout(x=column * width, y=row * PANEL_HEIGHT, w=width, h=PANEL_HEIGHT)


def _runset(project: Project, groups: Sequence[Group]) -> Any:
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces import expr

    from reporting.wandb.panels import error_key

    return wr.Runset(
        entity=project.entity,
        project=project.name,
        name="Finished runs",
        filters=_filters(project, expr.Metric("State") == "finished"),
        groupby=[f"config.{key}" for key in _groupings(project, groups)],
        order=[wr.OrderBy(wr.SummaryMetric(error_key(project)), ascending=True)],
        pinned_columns=_columns(project),
    )
