"""What a local sweep prints while it runs: a bar over its trials, and a line when one ends.

Imports tqdm and this package.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tqdm import tqdm

from sweeping.file import SweepFile
from sweeping.results import describe_failure, format_value, varying_parameters
from sweeping.runner import TAIL_LINES
from sweeping.state import FAILED, FINISHED, INTERRUPTED, SETTLED, SweepState, Trial


class SweepProgress:
    """A progress bar over the trials of a sweep, with the best value of its metric so far.

    Without a terminal there is no bar, only the lines.

    Parameters
    ----------
    sweep : SweepFile
        Names the metric and says whether less is better.
    state : SweepState
        The trials.
    keys : sequence of str
        Trials to count.
    """

    def __init__(self, sweep: SweepFile, state: SweepState, keys: Sequence[str]) -> None:
        self.sweep = sweep
        self.state = state
        self.keys = keys
        self._known_metrics: dict[str, float] = {}
        trials = state.trials(keys)
        self.varying = varying_parameters([trial.configuration for trial in trials])
        # tqdm's monitor is a thread, and this process forks.
        tqdm.monitor_interval = 0
        self.bar = tqdm(
            total=len(keys),
            initial=sum(trial.status in SETTLED for trial in trials),
            desc=sweep.name,
            unit="trial",
            file=sys.stderr,
            disable=not sys.stderr.isatty(),
        )
        self._refresh(running=0)

    def started(self, trial: Trial, running: int) -> None:
        """Say that a trial has started."""
        begins = "continues" if trial.attempts > 1 else "starts"
        label = self.label(trial)
        self.say(f"trial {trial.number} {begins}{label and f': {label}'}")
        self._refresh(running)

    def ended(self, trial: Trial, running: int) -> None:
        """Say how a trial ended."""
        if trial.status == FINISHED:
            metric = self.sweep.metric.name
            where = f" -> {trial.run_dir}" if trial.run_dir else ""
            self.say(
                f"trial {trial.number} finished in {trial.seconds:.0f} s: "
                f"{metric} {format_value(self._metric(trial))}{where}"
            )
        elif trial.status == INTERRUPTED:
            self.say(f"trial {trial.number} was interrupted; the same command continues it")
        else:
            self.say(describe_failure(trial, self.state.log_file(trial), TAIL_LINES))
        self._refresh(running)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        tqdm.write(line, file=sys.stderr)

    def tick(self) -> None:
        """Redraw the bar with the time that has passed."""
        self.bar.refresh()

    def close(self) -> None:
        """Leave the bar on the screen as it is."""
        self.bar.close()

    def label(self, trial: Trial) -> str:
        """Name the values of the parameters that differ between trials; empty if none does."""
        shown = {name: trial.configuration.get(name) for name in self.varying}
        return ", ".join(f"{name}={value}" for name, value in shown.items())

    def _metric(self, trial: Trial) -> float | None:
        """Look up the metric of a finished trial; its summary is read once, as it is final."""
        known = self._known_metrics.get(trial.key)
        if known is None:
            known = self.state.summary(trial).number(self.sweep.metric.name)
            if known is not None:
                self._known_metrics[trial.key] = known
        return known

    def _refresh(self, running: int) -> None:
        trials = self.state.trials(self.keys)
        self.bar.n = sum(trial.status in SETTLED for trial in trials)
        values = [self._metric(trial) for trial in trials if trial.status == FINISHED]
        known = [value for value in values if value is not None]
        shown: dict[str, int | str] = {"running": running}
        if known:
            best = min(known) if self.sweep.metric.goal == "minimize" else max(known)
            shown[f"best {self.sweep.metric.name}"] = format_value(best)
        if failed := sum(trial.status == FAILED for trial in trials):
            shown["failed"] = failed
        self.bar.set_postfix(shown, refresh=False)
        self.bar.refresh()
