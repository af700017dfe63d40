"""Run a W&B sweep file without a W&B server: ``python sweep.py sweeps/quickstart.yaml``.

Same program, same arguments as ``wandb agent``. State is on disk: the same command goes on where an
earlier one was stopped, and several at once share the trials.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import NoReturn

from records.files import write_json
from sweeping.command import render_command, trial_environment, visible_devices
from sweeping.file import SweepFile, load_sweep_file
from sweeping.progress import (
    SweepProgress,
    describe_failure,
    result_table,
    upload_command,
)
from sweeping.runner import Runner
from sweeping.space import Configuration, distinct, draws, grid, grid_size
from sweeping.state import FAILED, FINISHED, SweepState, Trial, trial_key

LARGEST_GRID = 100_000


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        fail(f"{message}; see python sweep.py --help")


def fail(message: str) -> NoReturn:
    """Say in one line what the user should change, and exit with 2."""
    print(f"sweep.py: error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = _OneLineParser(prog="sweep.py", description=__doc__, allow_abbrev=False)
    parser.add_argument("file", help="W&B sweep file with method grid or random")
    parser.add_argument(
        "--workers", type=int, help="trials at a time (default: one a device, or 1)"
    )
    parser.add_argument("--devices", help="GPUs, one trial each at a time, e.g. 0,1")
    parser.add_argument("--runs_dir", "--runs-dir", default="runs", help="default: runs")
    parser.add_argument("--count", type=int, help="at most this many configurations")
    parser.add_argument("--seed", type=int, default=0, help="of method random (default 0)")
    parser.add_argument("--retry-failed", action="store_true", help="run failed trials again")
    parser.add_argument("--grace", type=float, default=60.0, help="seconds to stop in (default 60)")
    parser.add_argument("--dry-run", action="store_true", help="print the commands, run nothing")
    parser.add_argument("--no-report", action="store_true", help="write no report at the end")
    given = parser.parse_args(arguments)
    for name, value in vars(given).items():
        if isinstance(value, list):  # what argparse makes of --name=--
            parser.error(f"--{name} needs a value")
    for name in ("workers", "count"):
        if getattr(given, name) is not None and getattr(given, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if given.grace < 0:
        parser.error("--grace must not be negative")
    return given


def configurations(sweep: SweepFile, count: int | None, seed: int) -> list[Configuration]:
    """List the sweep's configurations.

    Raises
    ------
    ValueError
        If a random search is not told where to end, or a grid has none in sight.
    """
    limits = [limit for limit in (sweep.run_cap, count) if limit is not None]
    if sweep.method == "grid":
        size = grid_size(sweep.parameters)
        if size > LARGEST_GRID:
            raise ValueError(
                f"the grid has {size:,} configurations, more than {LARGEST_GRID:,}; narrow it, or "
                "write `method: random` with a run_cap"
            )
        found = list(grid(sweep.parameters))
        return found[: min(limits, default=len(found))]
    if not limits:
        raise ValueError(
            "a random search does not end by itself; add `run_cap: 20` to the file or --count 20"
        )
    return list(distinct(draws(sweep.parameters, seed), min(limits)))


class Preparation:
    """Makes the command line and the environment of each trial."""

    def __init__(self, sweep: SweepFile, state: SweepState, devices: list[str], slots: int) -> None:
        self.sweep = sweep
        self.state = state
        self.devices = devices
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        # Side by side, each trial would otherwise take all cores.
        self.threads = max(1, (cores or 1) // slots) if slots > 1 else None

    def __call__(self, trial: Trial, slot: int) -> tuple[list[str], dict[str, str]]:
        """Prepare one trial for one worker."""
        if "${args_json_file}" in self.sweep.command:
            write_json(self.state.json_file(trial), trial.configuration)
        environment = trial_environment(
            os.environ,
            group=self.sweep.name,
            result_file=self.state.result_file(trial),
            project=self.sweep.project,
            entity=self.sweep.entity,
            device=self.devices[slot % len(self.devices)] if self.devices else None,
            threads=self.threads,
        )
        return self.command(trial), environment

    def command(self, trial: Trial) -> list[str]:
        """Render the command line: the agent's, and where the run's files go."""
        rendered = render_command(
            self.sweep.command,
            self.sweep.program,
            trial.configuration,
            environ=os.environ,
            interpreter=sys.executable,
            json_file=str(self.state.json_file(trial)),
        )
        return [*rendered, f"--runs_dir={self.state.folder}"]


def write_report(runs_dir: Path) -> Path | None:
    """Write the sweep's report, where this copy of the project has one.

    A failure is a warning: the trials are done and their numbers are on disk.
    """
    if not (Path(__file__).parent / "report.py").is_file():
        return None
    page = runs_dir / "report.html"
    try:
        # Late, as it needs plotly and RDKit, and only at the end.
        from report import main as report

        if report([str(runs_dir), "-o", str(page), "--skip-broken"]) == 0:
            return page
        reason = "see above"
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
    command = f"python report.py {runs_dir} -o {page}"
    print(f"sweep.py: warning: no report ({reason}); try again with {command}", file=sys.stderr)
    return None


def conclude(sweep: SweepFile, state: SweepState, keys: list[str], report: bool) -> int:
    """Print the table, what failed, where the report is and how to upload; give the exit code."""
    trials = state.trials(keys)
    failed = [trial for trial in trials if trial.status == FAILED]
    print(
        f"\n{sweep.name}: {sum(t.status == FINISHED for t in trials)} of {len(trials)} finished\n"
    )
    print(result_table(state, keys, sweep))
    if failed:
        print(f"\n{len(failed)} failed; run them again with --retry-failed:")
    for trial in failed:
        print(describe_failure(trial, state.log_file(trial), lines=1))
    if report and len(failed) < len(trials):
        # It says itself where the page is.
        print()
        write_report(state.folder)
    if command := upload_command(state.folder):
        print(f"\nUpload to W&B, grouped as {sweep.name!r}:\n    wandb login && {command}")
    return 1 if failed else 0


def main(arguments: list[str] | None = None) -> int:
    """Run a sweep.

    Returns
    -------
    int
        0 all finished, 1 a trial failed, 2 wrong input, 128 + signal when stopped.
    """
    given = parse_arguments(arguments)
    try:
        sweep = load_sweep_file(given.file)
        wanted = configurations(sweep, given.count, given.seed)
        devices = visible_devices(given.devices, os.environ) if given.devices else []
    except ValueError as error:
        fail(str(error))
    state = SweepState(Path(given.runs_dir) / sweep.name)
    named = [(trial_key(sweep.program, sweep.command, c), c) for c in wanted]
    slots = given.workers or len(devices) or 1
    prepare = Preparation(sweep, state, devices, slots)
    if given.dry_run:
        for number, (key, configuration) in enumerate(named):
            print(shlex.join(prepare.command(Trial(key, number, configuration))))
        return 0
    try:
        state.create()
        keys = state.register(named, retry=given.retry_failed)
    except OSError as error:
        fail(f"cannot write in {state.folder}: {error}; choose another --runs_dir")
    for note in sweep.notes:
        print(f"sweep.py: note: {note}", file=sys.stderr)
    progress = SweepProgress(sweep, state, keys)
    runner = Runner(state, keys, slots, prepare, progress, grace=given.grace)
    try:
        runner.run()
    except OSError as error:
        print(f"sweep.py: error: {error}; the same command goes on", file=sys.stderr)
        return 1
    finally:
        progress.close()
    if runner.stopped_by is not None:
        left = sum(trial.status not in (FINISHED, FAILED) for trial in state.trials(keys))
        print(f"\n{sweep.name}: stopped, {left} of {len(keys)} left; the same command goes on")
        return 128 + runner.stopped_by
    return conclude(sweep, state, keys, report=not given.no_report)


if __name__ == "__main__":
    sys.exit(main())
