"""What a local sweep prints at its end: the table of trials, failures, and the next commands.

Imports `records` and this package only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from records.upload_command import upload_command
from records.wandb_files import OFFLINE, SYNCED
from sweeping.file import SweepFile
from sweeping.state import FAILED, FINISHED, SETTLED, SweepState, Trial


def conclude(
    sweep: SweepFile,
    state: SweepState,
    keys: Sequence[str],
    write_report: Callable[[Path, Sequence[Path]], None] | None = None,
) -> int:
    """Print the table of trials, the reason of each failure, and how to upload the runs.

    Parameters
    ----------
    sweep : SweepFile
        The sweep.
    state : SweepState
        Its trials.
    keys : sequence of str
        Trials to print.
    write_report : callable, optional
        Called with the folder of the sweep, and the folders of its runs, unless every trial failed.

    Returns
    -------
    int
        Exit code of the program: 1 if a trial failed, otherwise 0.
    """
    trials = state.trials(keys)
    failed = [trial for trial in trials if trial.status == FAILED]
    finished = sum(trial.status == FINISHED for trial in trials)
    print(f"\n{sweep.name}: {finished} of {len(trials)} finished\n")
    print(result_table(sweep, state, keys))
    if failed:
        print(f"\n{len(failed)} failed; run them again with --retry-failed:")
    for trial in failed:
        print(describe_failure(trial, state.log_file(trial), lines=1))
    if write_report is not None and len(failed) < len(trials):
        # Runs of an earlier version of the file are part of the page, like those kept elsewhere.
        kept = [run for t in trials if (run := state.run_folder(t)) and run.parent != state.folder]
        own = [state.folder] if len(kept) < len(trials) else []
        write_report(state.folder, [*own, *kept])
    if waiting_for_upload(state.folder):
        command = upload_command(state.folder)
        print(f"\nUpload to W&B, grouped as {sweep.name!r}:\n    wandb login && {command}")
    return 1 if failed else 0


def count_unsettled(state: SweepState, keys: Sequence[str]) -> int:
    """Count the trials that have neither finished nor failed."""
    return sum(trial.status not in SETTLED for trial in state.trials(keys))


def result_table(sweep: SweepFile, state: SweepState, keys: Sequence[str]) -> str:
    """Lay out the trials as a table, lowest test MAE first, unfinished ones last."""
    trials = state.trials(keys)
    varying = varying_parameters([trial.configuration for trial in trials])
    varying = [name for name in varying if name != "model.irreps"]
    unit = next((u for t in trials if (u := state.summary(t).unit)), None)
    in_unit = f" [{unit}]" if unit else ""
    header = ["irreps", *varying, "parameters", sweep.metric.name, f"test MAE{in_unit}", "run"]
    rows = []
    for trial in trials:
        summary = state.summary(trial)
        test = summary.number("test/mae")
        parameters = summary.number("params/total")
        irreps = trial.configuration.get("model.irreps", summary.irreps or "")
        row = [
            str(irreps),
            *(str(trial.configuration.get(name, "")) for name in varying),
            "-" if parameters is None else f"{parameters:,.0f}",
            format_value(summary.number(sweep.metric.name)),
            format_value(test) if trial.status == FINISHED else trial.status,
            str(state.run_folder(trial) or ""),
        ]
        unfinished = trial.status != FINISHED
        rows.append(((unfinished, math.inf if test is None else test, trial.number), row))
    return align([header, *(row for _, row in sorted(rows))])


def varying_parameters(configurations: Sequence[dict[str, Any]]) -> list[str]:
    """Name the parameters whose value is not the same in all configurations."""
    names = sorted({name for configuration in configurations for name in configuration})
    return [
        name
        for name in names
        if len({json.dumps(c.get(name), sort_keys=True) for c in configurations}) > 1
    ]


def describe_failure(trial: Trial, log: Path, lines: int) -> str:
    """Name a failed trial, its exit code, its log, and the last lines of its output."""
    header = f"trial {trial.number} FAILED (exit code {trial.exit_code}); full output: {log}"
    return "\n".join([header, *(f"    | {line}" for line in trial.tail[-lines:])])


def waiting_for_upload(folder: Path) -> bool:
    """Whether a sweep's folder holds offline runs that have not been uploaded."""
    files = folder.glob(f"*/wandb/{OFFLINE}*/run-*.wandb")
    return any(not Path(f"{file}{SYNCED}").exists() for file in files)


def format_value(value: float | None) -> str:
    """Format a number with four significant digits, and None as a dash."""
    return "-" if value is None else f"{value:.4g}"


def align(rows: Sequence[Sequence[str]]) -> str:
    """Pad the columns of a table whose first row is its header; columns of numbers to the right."""
    columns = range(len(rows[0]))
    widths = [max(len(row[column]) for row in rows) for column in columns]
    numeric = [all(_is_number(row[column]) for row in rows[1:]) for column in columns]

    def pad(text: str, column: int) -> str:
        width = widths[column]
        return text.rjust(width) if numeric[column] else text.ljust(width)

    lines = ["  ".join(pad(text, i) for i, text in enumerate(row)) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "") or "0")
    except ValueError:
        return text in ("-", FAILED)
    return True
