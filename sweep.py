"""Run a W&B sweep file without a W&B server: ``python sweep.py sweeps/quickstart.yaml``.

It starts the same program with the same arguments as ``wandb agent``. The state is on disk: the
same command continues a sweep that was stopped, and several processes share the trials.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from records.standard_streams import make_standard_streams_safe
from records.user_folders import prepare_user_folders
from sweeping.command import (
    CommandBuilder,
    available_cores,
    default_workers,
    machine_has_gpu,
    visible_devices,
)
from sweeping.file import SweepFile, load_sweep_file
from sweeping.kept_results import KeepingProgress, finished_trials
from sweeping.options import Options, parse_options
from sweeping.progress import SweepProgress
from sweeping.results import conclude, count_unsettled
from sweeping.runner import Runner
from sweeping.space import configurations
from sweeping.state import NoLocksError, SweepState, Trial, trial_key


def main(arguments: Sequence[str] | None = None) -> int:
    """Run sweeps, one after the other.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line without the program.

    Returns
    -------
    int
        0 all trials finished, 1 a trial failed, 2 unusable input, 128 + signal when stopped.
    """
    make_standard_streams_safe()
    try:
        options = parse_options(arguments)
        if note := prepare_user_folders():
            _complain(note)
        sweeps = [load_sweep_file(file) for file in options.files]
        wanted = [configurations(sweep, options.count, options.seed) for sweep in sweeps]
        devices = visible_devices(options.devices, os.environ) if options.devices else []
        if options.results:
            finished_trials(options.results)
    except ValueError as error:
        return _complain(f"error: {error}", code=2)
    codes = [0]
    for sweep, given in zip(sweeps, wanted):
        codes.append(_run(sweep, given, options, devices))
        if codes[-1] not in (0, 1):
            return codes[-1]
    return max(codes)


def _run(
    sweep: SweepFile, wanted: Sequence[dict[str, Any]], options: Options, devices: Sequence[str]
) -> int:
    state = SweepState(options.runs_dir / sweep.name)
    trials = [(trial_key(sweep.program, sweep.command, c), c) for c in wanted]
    default = default_workers(devices, available_cores(), machine_has_gpu())
    workers = options.workers or default
    prepare = CommandBuilder(sweep, state, devices, workers)
    if options.dry_run:
        for number, (key, configuration) in enumerate(trials):
            print(shlex.join(prepare.command(Trial(key, number, configuration))))
        return 0
    try:
        state.create()
        finished = finished_trials(options.results) if options.results else {}
        keys = state.register(trials, options.retry_failed, finished)
    except NoLocksError as error:
        return _complain(f"error: {error}; choose another --runs_dir, or use wandb agent", code=2)
    except (OSError, ValueError) as error:
        return _complain(
            f"error: cannot write in {state.folder}: {error}; choose another --runs_dir", code=2
        )
    _complain(f"{len(keys)} trial{'s' * (len(keys) != 1)}, {workers} at a time")
    for note in sweep.notes:
        _complain(f"note: {note}")
    try:
        with closing(_progress(sweep, state, keys, options)) as progress:
            runner = Runner(state, keys, workers, prepare, progress, grace=options.grace)
            runner.run()
    except OSError as error:
        return _complain(f"error: {error}; the same command continues the sweep", code=1)
    if runner.stopped_by is not None:
        left = count_unsettled(state, keys)
        print(f"\n{sweep.name}: stopped, {left} of {len(keys)} left; the same command continues it")
        return 128 + runner.stopped_by
    return conclude(sweep, state, keys, None if options.no_report else _write_report)


def _progress(
    sweep: SweepFile, state: SweepState, keys: Sequence[str], options: Options
) -> SweepProgress | KeepingProgress:
    progress = SweepProgress(sweep, state, keys)
    return KeepingProgress(progress, options.results) if options.results else progress


def _write_report(folder: Path, runs: Sequence[Path]) -> None:
    """Write the sweep's report. Any failure is a warning, because the runs are complete on disk."""
    # Imported here because it loads plotly and RDKit, which no trial needs.
    from reporting.build import write_report

    try:
        print(f"\nReport: {write_report(runs, folder / 'report.html')}")
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        _complain(f"warning: no report ({reason}); try again with python report.py {folder}")


def _complain(message: str, code: int = 0) -> int:
    print(f"sweep.py: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
