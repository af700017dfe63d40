"""From run directories to the page: reading, grouping, counting, writing.

Imports this package; everything slow (SciPy, RDKit) is imported once the runs are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from reporting.read.runs import ReportError, Run, find_runs, read_run, wandb_project

if TYPE_CHECKING:
    from reporting.compare.groups import Group
    from reporting.html.page import Section
    from reporting.html.table import Table


@dataclass
class Runs:
    """Runs that were read, and those that could not be.

    Attributes
    ----------
    read : list of Run
    problems : list of str
        One line for each directory left out.
    """

    read: list[Run] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_all(paths: Sequence[Path], skip_broken: bool = False) -> Runs:
    """Find and read runs.

    Parameters
    ----------
    paths : sequence of Path
        Run directories, or directories that hold them.
    skip_broken : bool
        Whether to leave broken directories out instead of refusing them.

    Returns
    -------
    Runs

    Raises
    ------
    ReportError
        If there are no runs, one is broken, or they belong to several W&B projects.
    """
    runs = Runs()
    projects: Counter[str] = Counter()
    for path in find_runs(paths):
        try:
            run = read_run(path)
            project = wandb_project(run)
        except ReportError as error:
            if not skip_broken:
                raise
            runs.problems.append(str(error))
            continue
        runs.read.append(run)
        projects.update([project] if project else [])
    if not runs.read:
        raise ReportError(f"no run can be read: {runs.problems[0]}")
    if len(projects) > 1:
        named = ", ".join(f"{name} ({count})" for name, count in sorted(projects.items()))
        raise ReportError(
            f"these runs belong to {len(projects)} W&B projects: {named}; make one report of each"
        )
    return runs


def write_report(
    runs: Sequence[Path],
    output: Path,
    reference: str | None = None,
    csv: Path | None = None,
    skip_broken: bool = True,
) -> Path:
    """Write the page that compares runs, and its tables.

    Parameters
    ----------
    runs : sequence of Path
        Run directories, or directories that hold them.
    output : Path
        HTML file; replaced whole.
    reference : str, optional
        Irreps that sets are compared with; by default those of l = 0 only, or the smallest.
    csv : Path, optional
        Directory of the tables; by default ``<output>_tables``.
    skip_broken : bool
        Whether broken run directories are listed on the page instead of refused.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ReportError
        If there is nothing to compare, or a run is broken and not to be skipped.
    OSError
        If a file cannot be written.
    """
    found = read_all(runs, skip_broken)
    tables = csv or output.with_name(f"{output.stem}_tables")
    return build_page(found, output, reference, tables, skip_broken)


def build_page(
    runs: Runs, output: Path, reference: str | None, tables: Path | None, skip_broken: bool
) -> Path:
    """Write the page and the tables.

    Parameters
    ----------
    runs : Runs
        From `read_all`.
    output : Path
        HTML file, written whole or not at all.
    reference : str, optional
        Irreps that the sets are compared with.
    tables : Path, optional
        Directory for the CSV files; None writes none.
    skip_broken : bool
        Whether damaged files of latents are told on the page instead of refused.

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
    from records.files import write_text
    from reporting.compare.groups import check_reference, make_groups
    from reporting.html.page import render
    from reporting.html.table import write_csv
    from reporting.read.latents import pack

    groups = make_groups(runs.read)
    if reference is not None:
        check_reference(groups, reference)
    sections = [make_section(f"g{n}", g, reference) for n, g in enumerate(groups, start=1)]
    shown = [
        (f"{section.key}-{number}", run)
        for section in sections
        for number, run in enumerate(run for known in section.group.sets for run in known.runs)
    ]
    latents = pack(shown, skip_broken)
    for section in sections:
        _choose_runs(section, latents.runs.keys())
    problems = [*runs.problems, *latents.problems]
    html = render(_title(groups), sections, latents, problems, _made(runs))
    write_text(output, html)
    if tables is not None:
        for section in sections:
            prefix = f"{section.key}-" if len(sections) > 1 else ""
            write_csv(section.downloads, tables, prefix)
    return output


def make_section(key: str, group: Group, reference: str | None) -> Section:
    """Compute, draw and word one group.

    Parameters
    ----------
    key : str
        Prefix of its elements' ids.
    group : Group
    reference : str, optional
        Irreps that the sets are compared with.

    Returns
    -------
    Section
        Without the list of its latent layouts.
    """
    from reporting.compare.comparison import standings
    from reporting.compare.groups import choose_reference
    from reporting.compare.worth import latent_measures, worths
    from reporting.html import tables
    from reporting.html.page import Section
    from reporting.plots.all import figures
    from reporting.words.summary import summarize

    base = choose_reference(group, reference)
    section = Section(key, group, summarize(group, base))
    shown: list[Table] = []
    if base is not None:
        rows, measured, latent = standings(group, base), worths(group), latent_measures(group)
        shown = [tables.sets_table(group, rows, base), tables.worth_table(group, measured)]
        section.best = rows[0].irrep_set
        section.figures = figures(group, rows, measured, latent)
        section.downloads = [
            *shown,
            tables.blocks_table(group),
            tables.latent_table(latent),
            tables.curves_table(group),
        ]
    runs = tables.runs_table(group)
    section.tables = [*(table for table in shown if table.rows), runs]
    section.downloads.append(runs)
    return section


def _choose_runs(section: Section, packed: Collection[str]) -> None:
    """List the runs with latent layouts; the best set's is shown first."""
    runs = [(known, run) for known in section.group.sets for run in known.runs]
    for number, (known, run) in enumerate(runs):
        key = f"{section.key}-{number}"
        if key in packed:
            section.runs.append((key, f"{known.label}, seed {run.seed}"))
            if not section.first_run and known is section.best:
                section.first_run = key


def _title(groups: Sequence[Group]) -> str:
    targets = list(dict.fromkeys(group.target for group in groups))
    named = ", ".join(targets[:4]) + (" …" if len(targets) > 4 else "")
    return f"Which irreps matter for {named}?"


def _made(runs: Runs) -> str:
    finished = sum(run.finished for run in runs.read)
    count = f"{finished} of {len(runs.read)} runs finished"
    return f"{count} · made {datetime.now():%Y-%m-%d %H:%M} by report.py"
