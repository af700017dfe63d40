"""The state of a local sweep on disk, shared by all processes that run the same sweep.

`runs/<sweep>/sweep.json` holds the status of every trial; it is read, changed and replaced under a
lock. Each trial also has its own lock, which its process inherits: as long as that lock is held the
trial is running, even if the `sweep.py` that started it is gone. POSIX only (flock).
Imports `records`, pydantic and filelock.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from records.bounded import read_text
from records.files import write_text
from records.locks import UNSUPPORTED
from records.summary import Summary, read_summary
from sweeping.errors import describe, first_problem

LOCK = ".sweep.lock"
Status = Literal["pending", "running", "finished", "failed", "interrupted"]
"""An interrupted trial was stopped from outside; the next `sweep.py` continues it."""
PENDING: Final = "pending"
RUNNING: Final = "running"
FINISHED: Final = "finished"
FAILED: Final = "failed"
INTERRUPTED: Final = "interrupted"
SETTLED = (FINISHED, FAILED)
"""Statuses of trials that are not started again unless the user asks for it."""


class NoLocksError(OSError):
    """The file system cannot lock files."""


@dataclass
class Trial:
    """One configuration and what became of it.

    Attributes
    ----------
    key : str
        Hash of program, command and configuration, so that the order in the file does not matter.
    number : int
        Position in the sweep, from 0.
    configuration : dict
        Values by parameter.
    status : Status
        What became of it.
    attempts : int
        How often the program was started.
    exit_code : int or None
        Of the last attempt; negative if a signal killed it.
    seconds : float
        Duration of all attempts.
    run_dir : str or None
        Directory in which the program says that its files are.
    tail : list of str
        Last lines of the log of a failed trial.
    """

    key: str
    number: int
    configuration: dict[str, Any]
    status: Status = PENDING
    attempts: int = 0
    exit_code: int | None = None
    seconds: float = 0.0
    run_dir: str | None = None
    tail: list[str] = field(default_factory=list)


class _StoredSweep(BaseModel):
    """The content of ``sweep.json``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: Literal[1]
    trials: list[Trial]


@dataclass
class Claim:
    """A trial that this process may run as long as it holds the descriptor of the trial's lock."""

    trial: Trial
    descriptor: int

    def release(self) -> None:
        """Close this process's copy of the lock."""
        os.close(self.descriptor)


def trial_key(program: str, command: Sequence[str], configuration: dict[str, Any]) -> str:
    """Hash what a trial runs: 12 hexadecimal digits."""
    text = json.dumps([program, list(command), configuration], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class SweepState:
    """The trials of one sweep.

    Every change happens under one file lock, so that several processes share the trials and none is
    run twice.

    Parameters
    ----------
    folder : Path
        ``runs/<sweep>``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "sweep.json"
        # An existence marker, which filelock takes instead of a lock where there are none, would
        # outlive its process.
        self._lock = FileLock(folder / LOCK, fallback_to_soft=False)

    def create(self) -> None:
        """Make the folder.

        Raises
        ------
        NoLocksError
            If its file system cannot lock. Nothing is left there then.
        OSError
            If it cannot be written.
        """
        existed = self.folder.exists()
        trials = self.folder / "trials"
        trials.mkdir(parents=True, exist_ok=True)
        try:
            with self._lock:
                pass
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            if not existed:
                (self.folder / LOCK).unlink(missing_ok=True)
                trials.rmdir()
                self.folder.rmdir()
            raise NoLocksError(
                f"the file system of {self.folder} cannot lock files ({error.strerror}), without "
                "which a trial whose process is gone could not be told from one that runs"
            ) from error

    def log_file(self, trial: Trial) -> Path:
        """Path of the log that all attempts at a trial append to."""
        return self._file(trial, "log")

    def result_file(self, trial: Trial) -> Path:
        """Path of the file into which the program writes the path of its run directory."""
        return self._file(trial, "result")

    def json_file(self, trial: Trial) -> Path:
        """Path of the arguments as JSON, which replaces `${args_json_file}`."""
        return self._file(trial, "json")

    def _file(self, trial: Trial, suffix: str) -> Path:
        return self.folder / "trials" / f"{trial.number:04d}-{trial.key}.{suffix}"

    def register(
        self,
        wanted: Sequence[tuple[str, dict[str, Any]]],
        retry: bool,
        finished: Mapping[str, Path] | None = None,
    ) -> list[str]:
        """Add new trials. Trials of an earlier version of the sweep file stay as they are.

        Parameters
        ----------
        wanted : sequence of (str, dict)
            Key and configuration of each trial.
        retry : bool
            Whether failed trials become pending again.
        finished : mapping of str to Path, optional
            Folders of the results of trials that were finished elsewhere, by key.

        Returns
        -------
        list of str
            Keys of the wanted trials.
        """
        finished = finished or {}
        with self._changing() as trials:
            for key, configuration in wanted:
                trial = trials.setdefault(key, Trial(key, len(trials), configuration))
                if retry and trial.status == FAILED:
                    trial.status = PENDING
                if key in finished and trial.status not in (RUNNING, FINISHED):
                    trial.status, trial.exit_code = FINISHED, 0
                    trial.run_dir = _relative(finished[key])
        return [key for key, _ in wanted]

    def trials(self, keys: Sequence[str]) -> list[Trial]:
        """Read the trials with the given keys, in that order."""
        with self._lock:
            known, _ = self._read()
        return [known[key] for key in keys if key in known]

    def claim(self, keys: Sequence[str]) -> Claim | None:
        """Mark the next trial as running: a pending one, or one whose process is gone.

        Returns
        -------
        Claim or None
            None if every trial is settled or run by another process.
        """
        with self._changing() as trials:
            for key in keys:
                trial = trials[key]
                if trial.status in SETTLED:
                    continue
                descriptor = self._try_lock(trial)
                if descriptor is None:
                    continue
                if trial.status == RUNNING and self._settle_orphan(trial):
                    os.close(descriptor)
                    continue
                trial.status = RUNNING
                trial.attempts += 1
                return Claim(trial, descriptor)
        return None

    def record(self, trial: Trial) -> None:
        """Write a trial's new status."""
        with self._changing() as trials:
            trials[trial.key] = trial

    def summary(self, trial: Trial) -> Summary:
        """Read the summary of a trial's run.

        An empty one stands for a missing or damaged file: a sweep may run programs that write
        `summary.json` in another form, or none.
        """
        folder = self.run_folder(trial)
        if folder is None:
            return Summary()
        try:
            return read_summary(folder / "summary.json") or Summary()
        except ValueError:
            return Summary()

    def run_folder(self, trial: Trial) -> Path | None:
        """Find the directory of a trial's run, also if the sweep's folder was moved since then.

        Returns
        -------
        Path or None
            None as long as the program has not named it.
        """
        if trial.run_dir is None:
            return None
        recorded = Path(trial.run_dir)
        here = self.folder / recorded.name
        return here if here.is_dir() else recorded

    def find_run(self, trial: Trial) -> None:
        """Set a trial's run directory from its result file, if the program has written one."""
        try:
            line = read_text(self.result_file(trial)).strip()
        except (OSError, ValueError):
            return
        if line:
            trial.run_dir = _relative(Path(line))
            trial.run_dir = _relative(self.run_folder(trial) or Path(line))

    def _settle_orphan(self, trial: Trial) -> bool:
        """Settle a trial that finished after its `sweep.py` was killed; tell whether it did."""
        self.find_run(trial)
        if not self.summary(trial).finished:
            return False
        trial.status, trial.exit_code = FINISHED, 0
        return True

    def _try_lock(self, trial: Trial) -> int | None:
        descriptor = os.open(self._file(trial, "lock"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Trial]]:
        with self._lock:
            trials, before = self._read()
            yield trials
            after = _to_json(trials)
            if trials and after != before:
                write_text(self.path, after)

    def _read(self) -> tuple[dict[str, Trial], str]:
        """Read the trials, and the text of the file; an empty one if there is none."""
        try:
            text = read_text(self.path)
            stored = _StoredSweep.model_validate_json(text)
        except FileNotFoundError:
            return {}, ""
        except ValueError as error:  # a ValidationError is one, too
            if isinstance(error, ValidationError):
                problem = describe(first_problem(error))
            else:
                problem = str(error)
            # The program recognizes its finished runs, so starting over trains nothing twice.
            aside = self.path.with_suffix(".json.damaged")
            os.replace(self.path, aside)
            print(
                f"sweep.py: warning: {self.path} is damaged ({problem}); moved it to {aside} and "
                "started over",
                file=sys.stderr,
            )
            return {}, ""
        return {trial.key: trial for trial in stored.trials}, text


def _to_json(trials: dict[str, Trial]) -> str:
    """Write trials one a line: an indented file takes ten times as long for a thousand of them."""
    lines = (f"  {json.dumps(vars(trial))}" for trial in trials.values())
    return '{"version": 1, "trials": [\n' + ",\n".join(lines) + "\n]}\n"


def _relative(path: Path) -> str:
    """Make a path below the working directory relative, so that a folder of runs can be moved."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
