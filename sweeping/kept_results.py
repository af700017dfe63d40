"""Results of finished trials in a folder that can be committed, so that a new checkout goes on.

``FOLDER/<sweep>/<run>/`` holds the small files of a run and `trial.json`, by which the trial is
recognized. ``FOLDER/<sweep>/failed-<key>.json`` says how a trial failed. Imports `records`,
pydantic and `sweeping`.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from records.bounded import read_text
from records.files import replacing, write_json
from sweeping.errors import describe, first_problem
from sweeping.progress import SweepProgress
from sweeping.state import FAILED, FINISHED, SweepState, Trial

TRIAL = "trial.json"
KEPT = (
    "config.yaml",
    "metrics.csv",
    "summary.json",
    "utilization_best.csv",
    "decomposition.csv",
    "nested.csv",
)
"""Files of a run that are kept if they are there: a few kilobytes each, no weights, no pictures."""
Record = TypeVar("Record", bound=BaseModel)
Attempt = tuple[str, int]
"""Key of a trial, and how often it was started."""


class KeptTrial(BaseModel):
    """The content of `trial.json`.

    Attributes
    ----------
    version : int
    key : str
        See `sweeping.state.trial_key`.
    configuration : dict
        Values by parameter.
    seconds : float or None
        Duration of all attempts, if it is known.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    version: Literal[1]
    key: str
    configuration: dict[str, Any]
    seconds: float | None


class FailedTrial(BaseModel):
    """The content of ``failed-<key>.json``, which stays if the trial succeeds later.

    Attributes
    ----------
    version : int
    key, configuration, attempts, exit_code, seconds, tail
        See `sweeping.state.Trial`.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    version: Literal[1]
    key: str
    configuration: dict[str, Any]
    attempts: int
    exit_code: int | None
    seconds: float
    tail: list[str]


def finished_trials(folder: Path) -> dict[str, Path]:
    """Find the trials whose results were kept, of any sweep.

    Parameters
    ----------
    folder : Path
        Need not exist.

    Returns
    -------
    dict of str to Path
        Folder of each trial's results, by the trial's key.

    Raises
    ------
    ValueError
        If a `trial.json` is damaged: it stands for hours of training, which must not be repeated
        unnoticed.
    """
    return {_read(file, KeptTrial).key: file.parent for file in sorted(folder.glob(f"*/*/{TRIAL}"))}


def failed_trials(folder: Path) -> dict[str, FailedTrial]:
    """Read how trials failed, of any sweep.

    Parameters
    ----------
    folder : Path
        Need not exist.

    Returns
    -------
    dict of str to FailedTrial
        By key.

    Raises
    ------
    ValueError
        If a file is damaged.
    """
    found = [_read(file, FailedTrial) for file in sorted(folder.glob("*/failed-*.json"))]
    return {trial.key: trial for trial in found}


def _read(file: Path, kind: type[Record]) -> Record:
    try:
        return kind.model_validate_json(read_text(file))
    except (OSError, ValueError) as error:
        reason = (
            describe(first_problem(error)) if isinstance(error, ValidationError) else str(error)
        )
        remedy = f"remove {file.parent} to train again" if kind is KeptTrial else "remove it"
        raise ValueError(f"{file} is damaged ({reason}): restore it, or {remedy}") from error


def keep_results(
    state: SweepState, trials: Sequence[Trial], folder: Path, known: set[str]
) -> list[Path]:
    """Keep the results of those finished trials whose results are not kept yet.

    Parameters
    ----------
    state : SweepState
        The sweep.
    trials : sequence of Trial
        Its trials.
    folder : Path
        Made if needed.
    known : set of str
        Keys of trials whose results are kept, see `finished_trials`; extended. Other trials are
        looked for where this sweep keeps them, as another process may have kept them since.

    Returns
    -------
    list of Path
        The new folders.

    Raises
    ------
    ValueError
        If the `trial.json` of such a trial is damaged.
    OSError
        If they cannot be written.
    """
    new = []
    for trial in trials:
        if trial.status != FINISHED or trial.key in known:
            continue
        if (run := state.run_folder(trial)) is None:
            continue
        kept = folder / state.folder.name / run.name
        if not (kept / TRIAL).is_file() or _read(kept / TRIAL, KeptTrial).key != trial.key:
            _keep(trial, run, kept)
            new.append(kept)
        known.add(trial.key)
    return new


def keep_failures(trials: Sequence[Trial], folder: Path, known: set[Attempt]) -> None:
    """Write down those failed trials whose last attempt is not written down yet.

    Parameters
    ----------
    trials : sequence of Trial
        Of one sweep.
    folder : Path
        That sweep's part of the results, made if needed.
    known : set of (str, int)
        Keys and attempts of failures that are written down already; extended.

    Raises
    ------
    OSError
        If they cannot be written.
    """
    for trial in trials:
        if trial.status != FAILED or (trial.key, trial.attempts) in known:
            continue
        content = FailedTrial(
            version=1,
            key=trial.key,
            configuration=trial.configuration,
            attempts=trial.attempts,
            exit_code=trial.exit_code,
            seconds=trial.seconds,
            tail=trial.tail,
        )
        write_json(folder / f"failed-{trial.key}.json", content.model_dump())
        known.add((trial.key, trial.attempts))


class KeepingProgress:
    """Keeps the results of every trial that finishes or fails, and passes everything on.

    Parameters
    ----------
    progress : SweepProgress
        What shows the sweep's progress.
    folder : Path
        See `keep_results`. Trials that finished before this was made are kept at once.
    """

    def __init__(self, progress: SweepProgress, folder: Path) -> None:
        self.progress = progress
        self.folder = folder
        self._known = set(finished_trials(folder))
        self._failures: set[Attempt] = set()
        self._keep()

    def started(self, trial: Trial, running: int) -> None:
        """Report that a trial has started."""
        self.progress.started(trial, running)

    def ended(self, trial: Trial, running: int) -> None:
        """Keep the results of a trial that has finished, then report its end."""
        self._keep()
        self.progress.ended(trial, running)

    def say(self, line: str) -> None:
        """Print a line."""
        self.progress.say(line)

    def tick(self) -> None:
        """Report that time has passed."""
        self.progress.tick()

    def close(self) -> None:
        """End the display. Trials that another process ran are kept as well."""
        self.progress.close()
        self._keep()

    def _keep(self) -> None:
        state = self.progress.state
        trials = state.trials(self.progress.keys)
        keep_results(state, trials, self.folder, self._known)
        keep_failures(trials, self.folder / state.folder.name, self._failures)


def _keep(trial: Trial, run: Path, kept: Path) -> None:
    for name in KEPT:
        if (run / name).is_file():
            with replacing(kept / name) as temporary:
                shutil.copyfile(run / name, temporary)
    # Written last, so that a trial counts as kept only if all of its files are.
    content = KeptTrial(
        version=1, key=trial.key, configuration=trial.configuration, seconds=trial.seconds
    )
    write_json(kept / TRIAL, content.model_dump())
