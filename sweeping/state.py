"""What a local sweep knows about its trials, on disk, shared by all `sweep.py` of the same sweep.

`runs/<sweep>/sweep.json` holds every trial's status; it is read, changed and replaced under a lock.
Each trial has a lock of its own that its process inherits: while that is held the trial is running,
whatever became of the `sweep.py` that started it. POSIX only (flock). Imports `records.files`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from records.files import write_json

VERSION = 1
PENDING, RUNNING, FINISHED, FAILED, INTERRUPTED = (
    "pending",
    "running",
    "finished",
    "failed",
    "interrupted",
)
SETTLED = (FINISHED, FAILED)
STATUSES = (PENDING, RUNNING, FINISHED, FAILED, INTERRUPTED)


@dataclass
class Trial:
    """One configuration and what became of it.

    Attributes
    ----------
    key : str
        Hash of program, command and configuration: the same trial in any order of the file.
    arguments : list of str
        What follows the program on its command line.
    status : str
        `pending`, `running`, `finished`, `failed`, or `interrupted` (stopped by us, goes on).
    run_dir : str or None
        Where the program says its files are.
    tail : list of str
        Last lines of the log of a failed trial.
    """

    key: str
    number: int
    configuration: dict[str, Any]
    status: str = PENDING
    attempts: int = 0
    exit_code: int | None = None
    seconds: float = 0.0
    run_dir: str | None = None
    tail: list[str] = field(default_factory=list)


@dataclass
class Claim:
    """A trial that this process may run, as long as it holds the lock's descriptor."""

    trial: Trial
    descriptor: int

    def release(self) -> None:
        """Close this process's copy of the lock."""
        os.close(self.descriptor)


def trial_key(program: str, command: Sequence[str], configuration: dict[str, Any]) -> str:
    """Identify a trial by what is run, not by its place in the file."""
    text = json.dumps([program, list(command), configuration], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class SweepState:
    """The trials of one sweep in `folder`.

    Every change happens under one file lock, so that several `sweep.py` share the trials and none
    is run twice.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "sweep.json"
        self._lock = FileLock(folder / ".sweep.lock")

    def create(self) -> None:
        """Make the folder."""
        (self.folder / "trials").mkdir(parents=True, exist_ok=True)

    def log_file(self, trial: Trial) -> Path:
        """Path of the output of all attempts at a trial."""
        return self._file(trial, "log")

    def result_file(self, trial: Trial) -> Path:
        """Path of the file in which the program leaves its run directory."""
        return self._file(trial, "result")

    def json_file(self, trial: Trial) -> Path:
        """Path of the arguments as JSON, for `${args_json_file}`."""
        return self._file(trial, "json")

    def _file(self, trial: Trial, suffix: str) -> Path:
        return self.folder / "trials" / f"{trial.number:04d}-{trial.key}.{suffix}"

    def register(self, wanted: Sequence[tuple[str, dict[str, Any]]], retry: bool) -> list[str]:
        """Add new trials; make failed ones pending again where asked.

        Returns
        -------
        list of str
            Keys of the wanted trials. Others of an earlier version of the file stay as they are.
        """
        with self._changing() as trials:
            for key, configuration in wanted:
                trials.setdefault(key, Trial(key, len(trials), configuration))
                if retry and trials[key].status == FAILED:
                    trials[key].status = PENDING
        return [key for key, _ in wanted]

    def trials(self, keys: Sequence[str]) -> list[Trial]:
        """Read the wanted trials."""
        with self._lock:
            known = self._read()
        return [known[key] for key in keys if key in known]

    def claim(self, keys: Sequence[str]) -> Claim | None:
        """Take the next trial that waits, or one whose process is gone, and mark it running."""
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
        """Write one trial's new status."""
        with self._changing() as trials:
            trials[trial.key] = trial

    def summary(self, trial: Trial) -> dict[str, Any]:
        """Read `summary.json` of a trial's run, empty where there is none."""
        if trial.run_dir is None:
            return {}
        try:
            text = (Path(trial.run_dir) / "summary.json").read_text(encoding="utf-8")
            summary = json.loads(text)
        except (OSError, UnicodeDecodeError, json.JSONDecodeError):
            return {}
        return summary if isinstance(summary, dict) else {}

    def find_run(self, trial: Trial) -> None:
        """Take the run directory from the result file, if the program has written one."""
        try:
            line = self.result_file(trial).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return
        if line:
            trial.run_dir = _relative(Path(line))

    def _settle_orphan(self, trial: Trial) -> bool:
        """Finish a trial that ran to its end after its `sweep.py` was killed."""
        self.find_run(trial)
        if self.summary(trial).get("status") != FINISHED:
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
            trials = self._read()
            before = self._content(trials)
            yield trials
            after = self._content(trials)
            if after != before:
                write_json(self.path, after)

    def _content(self, trials: dict[str, Trial]) -> dict[str, Any]:
        return {"version": VERSION, "trials": [asdict(trial) for trial in trials.values()]}

    def _read(self) -> dict[str, Trial]:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        try:
            loaded = json.loads(text)
            if loaded["version"] != VERSION:
                raise ValueError(f"version {loaded['version']}, this program knows {VERSION}")
            trials = {entry["key"]: Trial(**entry) for entry in loaded["trials"]}
            if unknown := {trial.status for trial in trials.values()} - set(STATUSES):
                raise ValueError(f"status {', '.join(unknown)}")
        except (ValueError, TypeError, KeyError) as error:
            # Finished runs are recognised by the program itself, so nothing is trained twice.
            aside = self.path.with_suffix(".json.damaged")
            os.replace(self.path, aside)
            print(f"{self.path} is damaged ({error}); kept as {aside}, begun anew", file=sys.stderr)
            return {}
        return trials


def _relative(path: Path) -> str:
    """Shorten a path below the working directory, so that a folder of runs can be moved."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
