"""Compare runs: ``python report.py RUNS… [-o FILE]``, or in W&B: ``--wandb ENTITY/PROJECT``.

Writes one self-contained HTML page and its tables as CSV. Imports `reporting`, never torch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from reporting.build import write_report
from reporting.read.runs import ReportError

USAGE_ERROR = 2
FAILED = 1


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ReportError(f"{' '.join(message.split())}; see python report.py --help")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program; from the process by default.

    Returns
    -------
    argparse.Namespace

    Raises
    ------
    ReportError
        If an option is unknown, or options do not fit together.
    """
    parser = _OneLineParser(
        prog="report.py",
        description="Compare runs in one self-contained HTML page, or in W&B.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "runs", nargs="*", type=Path, help="run directories, or directories that hold them"
    )
    parser.add_argument(
        "-o", "--output", type=Path, help="HTML file (default: report.html in RUNS, if it is one)"
    )
    parser.add_argument(
        "--reference", metavar="IRREPS", help="compare with this set (default: l = 0 only)"
    )
    parser.add_argument(
        "--csv", type=Path, metavar="DIR", help="for the tables (default: beside the page)"
    )
    parser.add_argument(
        "--skip-broken", action="store_true", help="leave broken run directories out, and say so"
    )
    parser.add_argument(
        "--wandb", metavar="ENTITY/PROJECT", help="save a workspace and a report in W&B"
    )
    parser.add_argument("--sweep", metavar="ID", help="with --wandb: this sweep's runs only")
    given = parser.parse_args(arguments)
    for name, value in vars(given).items():
        if isinstance(value, list) and name != "runs":  # what argparse makes of --name=--
            parser.error(f"--{name} needs a value")
    if not given.runs and given.wandb is None:
        parser.error("give run directories, e.g. runs/quickstart, or --wandb ENTITY/PROJECT")
    if given.sweep and given.wandb is None:
        parser.error("--sweep needs --wandb ENTITY/PROJECT")
    if not given.runs and (given.output or given.csv):
        parser.error("-o and --csv need run directories")
    return given


def default_output(runs: Sequence[Path]) -> Path:
    """Where the page goes.

    Parameters
    ----------
    runs : sequence of Path
        As given.

    Returns
    -------
    Path
        ``report.html`` in the directory given, or here if there are several.
    """
    return (runs[0] if len(runs) == 1 else Path()) / "report.html"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program.

    Returns
    -------
    int
        0 done, 1 failed (disk, network), 2 unusable input.
    """
    try:
        given = parse_arguments(arguments)
        if given.runs:
            output = given.output or default_output(given.runs)
            page = write_report(given.runs, output, given.reference, given.csv, given.skip_broken)
            print(f"Report: {page} ({page.stat().st_size / 1e6:.1f} MB)")
        if given.wandb is not None:
            from reporting.wandb.dashboards import save_dashboards

            for line in save_dashboards(given.wandb, given.sweep, given.reference):
                print(line)
    except (ReportError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return USAGE_ERROR if isinstance(error, ReportError) else FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
