"""What a local sweep shows: a bar over trials, a line for each end, the final table.

Imports tqdm and `sweeping.state`.
"""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sweeping.file import SweepFile
from sweeping.runner import TAIL_LINES
from sweeping.state import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    SETTLED,
    SweepState,
    Trial,
)


class SweepProgress:
    """A progress bar over the trials of a sweep, with the best value of its metric so far.

    Without a terminal there is no bar, only the lines.
    """

    def __init__(self, sweep: SweepFile, state: SweepState, keys: Sequence[str]) -> None:
        self.sweep = sweep
        self.state = state
        self.keys = keys
        self.varying = varying_parameters([trial.configuration for trial in state.trials(keys)])
        # The monitor is a thread, and this process forks.
        tqdm.monitor_interval = 0
        done = sum(trial.status in SETTLED for trial in state.trials(keys))
        self.bar = tqdm(
            total=len(keys),
            initial=done,
            desc=sweep.name,
            unit="trial",
            file=sys.stderr,
            disable=not sys.stderr.isatty(),
        )
        self._refresh(running=0)

    def started(self, trial: Trial, running: int) -> None:
        """Show that one more is running."""
        goes_on = " goes on" if trial.attempts > 1 else ""
        self.say(f"trial {trial.number}{goes_on}: {self.label(trial)}")
        self._refresh(running)

    def ended(self, trial: Trial, running: int) -> None:
        """Say how a trial ended."""
        if trial.status == FINISHED:
            value = format_value(self._metric(trial))
            where = f" -> {trial.run_dir}" if trial.run_dir else ""
            duration = f"{trial.seconds:.0f} s"
            self.say(
                f"trial {trial.number} finished in {duration}: {self.sweep.metric} {value}{where}"
            )
        elif trial.status == INTERRUPTED:
            self.say(f"trial {trial.number} interrupted; it goes on the next time")
        else:
            self.say(describe_failure(trial, self.state.log_file(trial), TAIL_LINES))
        self._refresh(running)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        tqdm.write(line, file=sys.stderr)

    def tick(self) -> None:
        """Let the clock go on."""
        self.bar.refresh()

    def close(self) -> None:
        """Leave the bar as it is."""
        self.bar.close()

    def label(self, trial: Trial) -> str:
        """Give the parameters that differ between trials."""
        shown = {name: trial.configuration.get(name) for name in self.varying}
        return ", ".join(f"{name}={value}" for name, value in shown.items()) or "single trial"

    def _metric(self, trial: Trial) -> float | None:
        return number(self.state.summary(trial).get(self.sweep.metric))

    def _refresh(self, running: int) -> None:
        trials = self.state.trials(self.keys)
        self.bar.n = sum(trial.status in SETTLED for trial in trials)
        values = [self._metric(trial) for trial in trials if trial.status == FINISHED]
        known = [value for value in values if value is not None]
        shown: dict[str, Any] = {"running": running}
        if known:
            best = min(known) if self.sweep.goal == "minimize" else max(known)
            shown[f"best {self.sweep.metric}"] = format_value(best)
        if failed := sum(trial.status == FAILED for trial in trials):
            shown["failed"] = failed
        self.bar.set_postfix(shown, refresh=False)
        self.bar.refresh()


def varying_parameters(configurations: Sequence[dict[str, Any]]) -> list[str]:
    """Name the parameters that are not the same in all configurations."""
    names = sorted({name for configuration in configurations for name in configuration})
    return [
        name
        for name in names
        if len({json.dumps(c.get(name), sort_keys=True) for c in configurations}) > 1
    ]


def describe_failure(trial: Trial, log: Path, lines: int) -> str:
    """Say which trial failed, how, and with which last words."""
    code = trial.exit_code
    header = f"trial {trial.number} FAILED (exit code {code}); whole output: {log}"
    return "\n".join([header, *(f"    | {line}" for line in trial.tail[-lines:])])


def result_table(state: SweepState, keys: Sequence[str], sweep: SweepFile) -> str:
    """Lay out the trials, best test MAE first: irreps, what varied, parameters, MAE, directory."""
    trials = state.trials(keys)
    varying = varying_parameters([trial.configuration for trial in trials])
    varying = [name for name in varying if name != "model.irreps"]
    unit = next((u for t in trials if (u := state.summary(t).get("unit"))), "")
    in_unit = f" [{unit}]" if unit else ""
    header = ["irreps", *varying, "parameters", sweep.metric, f"test MAE{in_unit}", "run"]
    rows = []
    for trial in trials:
        summary = state.summary(trial)
        test = number(summary.get("test/mae"))
        parameters = number(summary.get("params/total"))
        irreps = trial.configuration.get("model.irreps", summary.get("irreps", ""))
        row = [
            str(irreps),
            *(str(trial.configuration.get(name, "")) for name in varying),
            "-" if parameters is None else f"{parameters:,.0f}",
            format_value(number(summary.get(sweep.metric))),
            format_value(test) if trial.status == FINISHED else trial.status,
            trial.run_dir or "",
        ]
        unsettled = trial.status != FINISHED
        rows.append(((unsettled, math.inf if test is None else test, trial.number), row))
    return align([header, *(row for _, row in sorted(rows))])


def align(rows: Sequence[Sequence[str]]) -> str:
    """Pad columns to their widest entry; columns of numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    numeric = [all(_is_number(row[i]) for row in rows[1:]) for i in range(len(rows[0]))]

    def cell(text: str, column: int) -> str:
        width = widths[column]
        return text.rjust(width) if numeric[column] else text.ljust(width)

    lines = ["  ".join(cell(text, i) for i, text in enumerate(row)) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "") or "0")
    except ValueError:
        return text in ("-", FAILED)
    return True


def upload_command(folder: Path) -> str | None:
    """Give the one command that uploads the sweep's offline runs, if there are any."""
    pattern = "*/wandb/offline-run-*"
    if next(folder.glob(pattern), None) is None:
        return None
    return f"wandb sync {shlex.quote(str(folder))}/{pattern}"


def number(value: object) -> float | None:
    """Take a finite or infinite number, nothing else (JSON may hold text or null)."""
    return float(value) if isinstance(value, int | float) else None


def format_value(value: float | None) -> str:
    """Four digits, or a dash."""
    return "-" if value is None else f"{value:.4g}"
