"""From run directories to the page: reading, grouping, comparing, rendering, writing.

Modules that import SciPy, RDKit or Jinja2 are imported once the runs are read, so that a mistake
on the command line is reported at once. Imports `records` and `reporting` only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from records.files import write_text
from reporting.read.runs import ReportError, Run, find_runs, read_run, wandb_project

if TYPE_CHECKING:
    from reporting.compare.groups import Group
    from reporting.html.page import LayoutChoice, Section

MAX_TARGETS = 4
"""Most targets named in the title."""


@dataclass
class ReadRuns:
    """Runs that were read, and those that could not be read.

    Attributes
    ----------
    runs : list of Run
    problems : list of str
        One line for each directory that was left out.
    """

    runs: list[Run] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def write_report(
    runs: Sequence[Path],
    output: Path,
    reference: str | None = None,
    csv: Path | None = None,
    skip_broken: bool = True,
) -> Path:
    """Write the page that compares runs, and its tables as CSV files.

    Parameters
    ----------
    runs : sequence of Path
        Run directories, or directories that hold them.
    output : Path
        HTML file, written atomically.
    reference : str, optional
        Irreps of the set that the others are compared with. By default the smallest set with
        l = 0 only, or the smallest set.
    csv : Path, optional
        Directory for the tables; by default ``<output>_tables``.
    skip_broken : bool
        Whether broken run directories are listed on the page instead of being an error.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ReportError
        If there is nothing to compare, if no run has the reference's irreps, or if a run is broken
        and broken runs are not skipped.
    OSError
        If a file cannot be written.
    """
    found = read_runs(runs, skip_broken)
    tables = csv or output.with_name(f"{output.stem}_tables")
    return build_page(found, output, reference, tables, skip_broken)


def read_runs(paths: Sequence[Path], skip_broken: bool = False) -> ReadRuns:
    """Find and read runs.

    Parameters
    ----------
    paths : sequence of Path
        Run directories, or directories that hold them.
    skip_broken : bool
        Whether broken run directories are left out instead of being an error.

    Raises
    ------
    ReportError
        If there are no runs, if one is broken, or if they belong to several W&B projects.
    """
    found = ReadRuns()
    projects: Counter[str] = Counter()
    for path in find_runs(paths):
        try:
            run = read_run(path)
            project = wandb_project(run)
        except ReportError as error:
            if not skip_broken:
                raise
            found.problems.append(str(error))
            continue
        found.runs.append(run)
        projects.update([project] if project else [])
    if not found.runs:
        raise ReportError(f"no run can be read: {found.problems[0]}")
    if len(projects) > 1:
        named = ", ".join(f"{name} ({count})" for name, count in sorted(projects.items()))
        raise ReportError(
            f"these runs belong to {len(projects)} W&B projects: {named}; write one report for each"
        )
    return found


def build_page(
    found: ReadRuns, output: Path, reference: str | None, tables: Path, skip_broken: bool
) -> Path:
    """Write the page and the tables.

    Parameters
    ----------
    found : ReadRuns
        As returned by `read_runs`.
    output : Path
        HTML file, written atomically.
    reference : str, optional
        Irreps of the set that the others are compared with.
    tables : Path
        Directory for the CSV files.
    skip_broken : bool
        Whether damaged latent layouts are listed on the page instead of being an error.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ReportError
        If no run has the reference's irreps, or a file is damaged.
    OSError
        If a file cannot be written.
    """
    from reporting.compare.groups import check_reference, group_runs
    from reporting.html.latent_layouts import pack_layouts
    from reporting.html.page import render_page
    from reporting.plots.group_figures import draw_overview
    from reporting.tables.table import write_csv

    groups = group_runs(found.runs)
    if reference is not None:
        check_reference(groups, reference)
    sections = [make_section(f"g{n}", group, reference) for n, group in enumerate(groups, start=1)]
    latents = pack_layouts(
        [pair for section in sections for pair in _keyed_runs(section)], skip_broken
    )
    for section in sections:
        section.layouts = _layout_choices(section, latents.runs)
    problems = [*found.problems, *latents.problems]
    page = render_page(
        _title(groups), sections, latents, problems, _made(found), draw_overview(groups)
    )
    write_text(output, page)
    for section in sections:
        prefix = f"{section.key}-" if len(sections) > 1 else ""
        write_csv(section.downloads, tables, prefix)
    return output


def make_section(key: str, group: Group, reference: str | None) -> Section:
    """Compare the runs of one group, and put the result into words, tables and figures.

    Parameters
    ----------
    key : str
        Prefix of the ids of the section's elements.
    group : Group
    reference : str, optional
        Irreps of the set that the others are compared with.

    Returns
    -------
    Section
        Still without its latent layouts.
    """
    from reporting.compare.baselines import compare_with_baselines
    from reporting.compare.decompositions import decompositions
    from reporting.compare.groups import choose_reference
    from reporting.compare.irrep_effects import irrep_effects, pair_effects
    from reporting.compare.latent_spaces import latent_measures
    from reporting.compare.nested_subsets import nested_subsets
    from reporting.compare.pruned_fronts import pruned_fronts
    from reporting.compare.set_comparison import standings
    from reporting.html.page import Section
    from reporting.plots.group_figures import draw_figures
    from reporting.tables import group_tables, measure_tables
    from reporting.tables.pruned_table import pruned_table
    from reporting.words.findings import describe_findings

    base = choose_reference(group, reference)
    runs_table = group_tables.runs_table(group)
    section = Section(key, group, describe_findings(group, base), runs_table)
    if base is None:
        section.downloads = [runs_table]
        return section
    rows, effects, latent = standings(group, base), irrep_effects(group), latent_measures(group)
    learning = compare_with_baselines(group)
    section.best = rows[0].irrep_set
    sets_table = group_tables.sets_table(group, rows, base)
    irreps_table = measure_tables.irreps_table(group, effects)
    section.tables = [sets_table, irreps_table] if irreps_table.rows else [sets_table]
    further = [
        group_tables.baselines_table(group, learning) if learning else None,
        measure_tables.pairs_table(group, pair_effects(group)),
        measure_tables.subsets_table(group, nested_subsets(group)),
        pruned_table(group, pruned_fronts(group)),
        measure_tables.decomposition_table(group, decompositions(group)),
        measure_tables.latent_summary_table(group, latent),
        measure_tables.scalars_table(group, effects),
    ]
    section.further_tables = [table for table in further if table is not None and table.rows]
    section.figures = draw_figures(group, rows, effects, latent)
    downloads = [
        sets_table,
        irreps_table,
        *section.further_tables,
        group_tables.utilization_table(group),
        measure_tables.latent_table(latent),
        group_tables.curves_table(group),
        runs_table,
    ]
    section.downloads = [table for table in downloads if table.rows]
    return section


def _keyed_runs(section: Section) -> list[tuple[str, Run]]:
    return [(f"{section.key}-{n}", run) for n, run in enumerate(section.group.counted_runs)]


def _layout_choices(section: Section, with_layouts: Collection[str]) -> list[LayoutChoice]:
    """List the runs that have layouts. The best set's first run is selected."""
    from reporting.html.page import LayoutChoice

    label_of = {one.irreps: one.label for one in section.group.sets}
    runs = [(key, run) for key, run in _keyed_runs(section) if key in with_layouts]
    best = section.best.irreps if section.best else ""
    selected = next((key for key, run in runs if run.irreps == best), "")
    return [
        LayoutChoice(key, f"{label_of[run.irreps]}, seed {run.seed}", key == selected)
        for key, run in runs
    ]


def _title(groups: Sequence[Group]) -> str:
    targets = list(dict.fromkeys(group.target for group in groups))
    named = ", ".join(targets[:MAX_TARGETS]) + (" …" if len(targets) > MAX_TARGETS else "")
    return f"Which irreps matter for {named}?"


def _made(found: ReadRuns) -> str:
    finished = sum(run.finished for run in found.runs)
    count = f"{finished} of {len(found.runs)} runs finished"
    return f"{count} · made {datetime.now():%Y-%m-%d %H:%M} by report.py"
