"""The arms of the study: what was planned, and the results that are kept.

Imports `sweeping`, `reporting` and pydantic.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reporting.compare.groups import Group, IrrepSet, group_runs
from reporting.read.irreps import canonical_irreps
from reporting.read.runs import Run, read_run
from sweeping.file import load_sweep_file
from sweeping.kept_results import TRIAL, KeptTrial, failed_trials, finished_trials
from sweeping.space import configurations
from sweeping.state import trial_key

ROOT = Path(__file__).parents[2]
SWEEPS = ROOT / "sweeps" / "study"
RESULTS = ROOT / "results"


@dataclass
class Arm:
    """One sweep file of the study.

    Attributes
    ----------
    name : str
        Of the file, e.g. ``main``.
    planned : int
        Number of trials in the file.
    runs : list of Run
        Those whose results are kept.
    failed : int
        Number of trials that failed and have not finished since.
    seconds : float
        Duration of the runs, as far as it is known.
    """

    name: str
    planned: int
    runs: list[Run]
    failed: int
    seconds: float


def read_arms(results: Path = RESULTS, sweeps: Path = SWEEPS) -> dict[str, Arm]:
    """Read all arms.

    Parameters
    ----------
    results : Path
        Folder of kept results.
    sweeps : Path
        Folder of sweep files.

    Returns
    -------
    dict of str to Arm
        By name, in alphabetical order.

    Raises
    ------
    ValueError
        If a file is damaged.
    """
    kept, failed = finished_trials(results), failed_trials(results)
    return {file.stem: _read_arm(file, kept, failed) for file in sorted(sweeps.glob("*.yaml"))}


def _read_arm(file: Path, kept: Mapping[str, Path], failed: Collection[str]) -> Arm:
    sweep = load_sweep_file(file)
    planned = configurations(sweep, None, 0)
    keys = [trial_key(sweep.program, sweep.command, configuration) for configuration in planned]
    folders = [kept[key] for key in keys if key in kept]
    texts = [(folder / TRIAL).read_text(encoding="utf-8") for folder in folders]
    seconds = [KeptTrial.model_validate_json(text).seconds or 0.0 for text in texts]
    runs = [read_run(folder) for folder in folders]
    lost = sum(key in failed and key not in kept for key in keys)
    return Arm(file.stem, len(keys), runs, lost, sum(seconds))


def find_set(
    arms: Mapping[str, Arm], arm: str, where: Mapping[str, Any], irreps: str
) -> tuple[Group, IrrepSet] | None:
    """Find the runs of a set.

    Runs of other arms belong to it as well if they agree in all options but irreps, seed and split.

    Parameters
    ----------
    arms : mapping of str to Arm
    arm : str
        Name of the arm.
    where : mapping
        Options that the arm's runs must have.
    irreps : str
        Of the set.

    Returns
    -------
    tuple of Group and IrrepSet, or None
        None if there are no results yet.
    """
    own = {
        run.path
        for run in arms[arm].runs
        if all(run.configuration.get(name) == value for name, value in where.items())
    }
    for group in groups(arms):
        found = group.find(canonical_irreps(irreps))
        if found is not None and any(run.path in own for run in group.runs):
            return group, found
    return None


def groups(arms: Mapping[str, Arm]) -> Sequence[Group]:
    """Group the runs of all arms; runs that belong to two arms are counted once."""
    runs = {run.path: run for arm in arms.values() for run in arm.runs}
    return group_runs(list(runs.values())) if runs else []
