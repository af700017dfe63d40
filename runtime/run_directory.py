"""`RunDirectory`: where the files of one run are, and which process may write them.

Imports `records` only.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from records.locks import LockHeldError, take_lock
from records.run_files import (
    LOCK,
    holds_files,
    is_run_directory,
    linked_folders,
    remove_run_files,
)


class RunDirectory:
    """``runs/<name>/`` with a lock, so that two processes never train into the same place.

    Parameters
    ----------
    runs_dir : Path
        Directory of all runs.
    name : str
        The run's name.

    Attributes
    ----------
    given : Path
        The directory as it was given; it may be a symbolic link.
    path : Path
        The directory, absolute and without links.
    """

    def __init__(self, runs_dir: Path, name: str) -> None:
        self.name = name
        self.given = runs_dir / name
        self.path = self.given.resolve()
        self._release: Callable[[], None] | None = None

    @property
    def best(self) -> Path:
        """Checkpoint with the lowest validation MAE."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def last(self) -> Path:
        """Checkpoint of the last finished epoch."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def config(self) -> Path:
        """Resolved configuration, see `records.configuration`."""
        return self.path / "config.yaml"

    @property
    def summary(self) -> Path:
        """Status and results, see `records.summary`."""
        return self.path / "summary.json"

    @property
    def metrics(self) -> Path:
        """One row per epoch, see `records.metrics`."""
        return self.path / "metrics.csv"

    @property
    def splits(self) -> Path:
        """Which molecules are in which part, see `records.splits`."""
        return self.path / "splits.npz"

    @property
    def error(self) -> Path:
        """Traceback of the last failure. Removed when the run goes on."""
        return self.path / "error.txt"

    @property
    def predictions(self) -> Path:
        """Default output of ``train.py predict``."""
        return self.path / "predictions.csv"

    def acquire(self) -> None:
        """Take the run for this process.

        Raises
        ------
        ValueError
            If another process has it, or the directory cannot be written.
        """
        existed = self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._release = take_lock(self.path / LOCK).release
        except LockHeldError as error:
            raise ValueError(
                f"run {self.name} is being trained by another process: {error}, or give this one "
                "another --run_name"
            ) from error
        except OSError as error:
            if not existed and self.path.is_dir() and not any(self.path.iterdir()):
                self.path.rmdir()
            raise ValueError(
                f"runs directory {self.path.parent} cannot be written ({error.strerror}): give "
                "another one with --runs_dir"
            ) from error
        if not os.access(self.path, os.W_OK):
            raise ValueError(
                f"run directory {self.path} cannot be written: give another --runs_dir"
            )

    def release(self) -> None:
        """Let other processes have the run, if this one has it."""
        if self._release is not None:
            self._release()
            self._release = None

    def check_clearable(self) -> None:
        """Check that `clear` would remove a run, and nothing else.

        Raises
        ------
        ValueError
            If the directory holds files but no run, or it or a folder of it is a symbolic link.
        """
        links = linked_folders(self.given)
        if links:
            raise ValueError(
                f"--fresh clears no symbolic link, and {links[0]} is one: remove the link, or give "
                "another --run_name"
            )
        if holds_files(self.path) and not is_run_directory(self.path):
            raise ValueError(
                f"--fresh clears only runs, and {self.path} holds files but no summary.json or "
                "config.yaml of train.py: give another --run_name or --runs_dir"
            )

    def clear(self) -> None:
        """Remove the files of the run in this directory.

        What `train.py` has not written stays, and so does the lock that this process holds.

        Raises
        ------
        ValueError
            See `check_clearable`. Nothing was removed.
        """
        self.check_clearable()
        remove_run_files(self.path)
