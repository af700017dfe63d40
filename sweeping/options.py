"""The command line of `sweep.py`.

Imports the standard library only.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn


@dataclass(frozen=True)
class Options:
    """Options of `sweep.py`; see ``python sweep.py --help``."""

    files: list[str]
    workers: int | None
    devices: str | None
    runs_dir: Path
    count: int | None
    seed: int
    retry_failed: bool
    grace: float
    dry_run: bool
    no_report: bool
    results: Path | None


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see python sweep.py --help")


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Parse the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program; those of the process by default.

    Raises
    ------
    ValueError
        If an option is unknown, or a value cannot be used.
    """
    parser = _OneLineParser(
        prog="sweep.py",
        description="Run a W&B sweep file without a W&B server.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "files",
        nargs="+",
        metavar="file",
        help="W&B sweep file with method grid or random; several run one after the other",
    )
    parser.add_argument(
        "--workers",
        type=int,
        help="number of trials at the same time (default: one per device; 2 without a GPU)",
    )
    parser.add_argument("--devices", help="GPUs, one trial at a time on each, e.g. 0,1")
    parser.add_argument(
        "--runs_dir",
        "--runs-dir",
        type=Path,
        default=Path("runs"),
        help="directory of all runs (default: runs)",
    )
    parser.add_argument(
        "--count", type=int, help="run at most this many configurations (default: all)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of method random (default: 0)")
    parser.add_argument("--retry-failed", action="store_true", help="run failed trials again")
    parser.add_argument(
        "--grace",
        type=float,
        default=60.0,
        help="seconds that trials have to stop before they are killed (default: 60)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands, run nothing")
    parser.add_argument("--no-report", action="store_true", help="write no report at the end")
    parser.add_argument(
        "--results",
        type=Path,
        help="folder that keeps the results of finished trials, without checkpoints and pictures; "
        "trials that are in it are not run again, also in another checkout",
    )
    given = parser.parse_intermixed_args(arguments)
    for name, value in vars(given).items():
        if value == []:  # argparse turns --name=-- into an empty list
            parser.error(f"--{name} needs a value")
    for name in ("workers", "count"):
        value = getattr(given, name)
        if value is not None and value < 1:
            parser.error(f"--{name} is {value}, but must be at least 1")
    if not given.grace >= 0:
        parser.error(f"--grace is {given.grace}, but must not be negative")
    return Options(**vars(given))
