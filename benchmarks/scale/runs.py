"""Many finished runs and many finished trials, made of the kept ones: reports and local sweeps.

May import everything but the programs.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.scale.costs import Meter
from reporting.build import write_report
from sweeping.file import load_sweep_file
from sweeping.kept_results import TRIAL, KeepingProgress, finished_trials
from sweeping.progress import SweepProgress
from sweeping.space import configurations
from sweeping.state import FINISHED, SweepState, trial_key

KEPT = Path(__file__).parents[2] / "results" / "reading"
"""Runs of four degree sets, three seeds each."""
SETS = 4
ALIKE = 16
"""Runs of one comparison where there are several: four sets with four seeds."""


def write_runs(folder: Path, count: int, alike: int) -> None:
    """Write directories of finished runs: copies of the kept ones with other seeds and options.

    Parameters
    ----------
    folder : Path
        Where to; must not exist.
    count : int
        Number of runs.
    alike : int
        Number of runs that are compared with each other. Each such group has a learning rate of its
        own.
    """
    kept = sorted(path for path in KEPT.iterdir() if (path / TRIAL).is_file())
    by_irreps: dict[str, list[Path]] = {}
    for path in kept:
        by_irreps.setdefault(path.name.rpartition("-s")[0], []).append(path)
    sources = [by_irreps[irreps] for irreps in sorted(by_irreps)]
    for number in range(count):
        group, within = divmod(number, alike)
        seed, which = divmod(within, len(sources))
        source = sources[which][seed % len(sources[which])]
        _copy(source, folder / f"run-{number:05d}", seed, 0.02 * 0.99**group)


def _copy(source: Path, target: Path, seed: int, lr: float) -> None:
    """Copy a run under another seed; its errors move a little, so that seeds scatter."""
    shutil.copytree(source, target)
    path = target / "summary.json"
    summary: dict[str, Any] = json.loads(path.read_text())
    changed = {"seed_everything": seed, "data.split_seed": seed, "model.lr": lr}
    for key in ("test/mae", "val/mae"):
        summary[key] *= 1 + 0.01 * ((seed * 37 + 11) % 17 - 8) / 8
    summary |= {"run_name": target.name, "seed": seed}
    summary["configuration"] |= changed
    path.write_text(json.dumps(summary))


def measure_report(meter: Meter, folder: Path, alike: int | None = None) -> None:
    """Measure ``report.py`` over many runs.

    Parameters
    ----------
    meter : Meter
        Says how many.
    folder : Path
        For files, empty.
    alike : int, optional
        Number of runs that are compared with each other; by default all.
    """
    write_runs(folder / "few", SETS, SETS)
    write_runs(folder / "many", meter.size, alike or meter.size)
    write_report([folder / "few"], folder / "few.html")  # imports plotly and what it needs
    meter.measure(
        "`report.py`",
        lambda: write_report([folder / "many"], folder / "many.html"),
        lambda page: page.stat().st_size / 1e6,
    )


def measure_groups(meter: Meter, folder: Path) -> None:
    """Measure ``report.py`` over many comparisons of a few runs each."""
    measure_report(meter, folder, ALIKE)


def measure_sweep(meter: Meter, folder: Path) -> None:
    """Measure what a local sweep does beside its trials: planning it, and keeping its state.

    The trials themselves are not run. Their runs are there when they are claimed.
    """
    sweep = load_sweep_file(_write_sweep(folder, meter.size))
    state, results = SweepState(folder / "runs" / sweep.name), folder / "results"
    write_runs(state.folder, meter.size, meter.size)

    def plan() -> list[str]:
        state.create()
        trials = [
            (trial_key(sweep.program, sweep.command, given), given)
            for given in configurations(sweep, None, 0)
        ]
        return state.register(trials, False, finished_trials(results))

    def settle() -> None:
        progress = KeepingProgress(SweepProgress(sweep, state, keys), results)
        for run in _claimed_runs(meter.size):
            claim = state.claim(keys)
            if claim is None:
                raise RuntimeError("no trial is left: the state of the sweep is wrong")
            trial = claim.trial
            progress.started(trial, 1)
            trial.status, trial.exit_code = FINISHED, 0
            trial.run_dir = str(state.folder / run)
            claim.release()
            state.record(trial)
            progress.ended(trial, 0)
        progress.close()

    keys = meter.measure("planning", plan)
    with contextlib.redirect_stderr(io.StringIO()):  # a line per trial
        meter.measure("starting and ending trials", settle)
    meter.measure("planning, all finished", plan)


def _claimed_runs(count: int) -> Iterator[str]:
    return (f"run-{number:05d}" for number in range(count))


def _write_sweep(folder: Path, trials: int) -> Path:
    path = folder / "sweep.yaml"
    parameters = {
        "model.irreps": {"values": [f"8x0e+{channels}x1o" for channels in range(1, SETS + 1)]},
        "seed_everything": {"values": list(range(trials // SETS))},
    }
    content = {
        "name": "many",
        "program": "train.py",
        "method": "grid",
        "metric": {"name": "val/mae", "goal": "minimize"},
        "parameters": parameters,
    }
    path.write_text(yaml.safe_dump(content))
    return path
