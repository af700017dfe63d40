"""Compare finished runs: ``python report.py RUNS… [-o FILE]``, or ``--wandb ENTITY/PROJECT``.

Writes one self-contained HTML page and its tables as CSV files. Imports `reporting` only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from records.announcement import announce
from records.standard_streams import make_standard_streams_safe
from records.user_folders import prepare_user_folders
from reporting.build import write_report
from reporting.read.runs import ReportError

USAGE_ERROR = 2
FAILED = 1


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ReportError(f"{' '.join(message.split())}; see python report.py --help")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; a `ReportError` says which options are wrong."""
    parser = _OneLineParser(
        prog="report.py",
        description="Compare finished runs in one self-contained HTML page, or in W&B.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("runs", nargs="*", type=Path, help="run directories, or directories that hold them")
    add("-o", "--output", type=Path, help="HTML file (default: report.html in RUNS)")
    add("--reference", metavar="IRREPS", help="set to compare with (default: l = 0 only)")
    add("--csv", type=Path, metavar="DIR", help="directory for tables (default: beside the page)")
    add("--skip-broken", action="store_true", help="leave out broken runs, and list them")
    add("--wandb", metavar="ENTITY/PROJECT", help="save a workspace and a report in W&B")
    add("--sweep", metavar="ID", help="with --wandb: only the runs of this sweep")
    given = parser.parse_args(arguments)
    for name, value in vars(given).items():
        if isinstance(value, list) and name != "runs":  # argparse turns --name=-- into a list
            parser.error(f"--{name} needs a value")
    if not given.runs and given.wandb is None:
        parser.error("give run directories, e.g. runs/quickstart, or --wandb ENTITY/PROJECT")
    if given.sweep and given.wandb is None:
        parser.error("--sweep needs --wandb ENTITY/PROJECT")
    if not given.runs and (given.output or given.csv):
        parser.error("-o and --csv need run directories")
    return given


def default_output(runs: Sequence[Path]) -> Path:
    """Put the page into the given directory, or into the current one if several are given."""
    return (runs[0] if len(runs) == 1 else Path()) / "report.html"


def _prepare_folders() -> None:
    """Find folders for the caches of libraries, before these are imported."""
    try:
        note = prepare_user_folders()
    except ValueError as error:
        raise ReportError(str(error)) from error
    if note:
        print(note, file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns 0 if done, 1 if disk or network failed, 2 for unusable input."""
    make_standard_streams_safe()
    try:
        given = parse_arguments(arguments)
        _prepare_folders()
        if given.runs:
            output = given.output or default_output(given.runs)
            page = write_report(given.runs, output, given.reference, given.csv, given.skip_broken)
            print(f"Report: {page} ({page.stat().st_size / 1e6:.1f} MB)")
        if given.wandb is not None:
            # Late, as wandb-workspaces takes seconds to import.
            from reporting.wandb.dashboards import save_dashboards

            for line in save_dashboards(given.wandb, given.sweep, given.reference):
                print(line)
    except (ReportError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return USAGE_ERROR if isinstance(error, ReportError) else FAILED
    return 0


if __name__ == "__main__":
    make_standard_streams_safe()
    announce("report.py: reading the runs", sys.argv[1:])
    sys.exit(main())
