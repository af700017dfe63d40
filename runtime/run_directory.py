"""`RunDirectory`: the files of one run, and who may write them.

Imports filelock and this package only.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from records.files import write_json


class RunDirectory:
    """``runs/<name>/`` with a lock, so that two processes never train into the same place.

    Parameters
    ----------
    runs_dir : Path
        Where all runs lie.
    name : str
        The run's name.
    """

    def __init__(self, runs_dir: Path, name: str) -> None:
        self.name = name
        self.path = (runs_dir / name).resolve()
        self._lock = FileLock(self.path / ".lock")

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
        """Resolved configuration; ``python train.py --config`` takes it."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """One row an epoch."""
        return self.path / "metrics.csv"

    @property
    def error(self) -> Path:
        """What went wrong the last time, in detail, until the run goes on."""
        return self.path / "error.txt"

    @property
    def predictions(self) -> Path:
        """Default output of ``train.py predict``."""
        return self.path / "predictions.csv"

    def acquire(self) -> None:
        """Take the run for this process, or say who cannot.

        Raises
        ------
        ValueError
            If another process holds it, or the directory cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise ValueError(
                f"run {self.name} is being trained by another process: wait for it, or give this "
                "one another --run_name"
            ) from error
        except OSError as error:
            raise ValueError(
                f"runs directory {self.path.parent} cannot be written ({error.strerror}): give "
                "another one with --runs_dir"
            ) from error
        if not os.access(self.path, os.W_OK):
            raise ValueError(
                f"run directory {self.path} cannot be written: give another --runs_dir"
            )

    def release(self) -> None:
        """Let other processes have the run. The lock's file stays, as its removal would race."""
        self._lock.release()

    def clear(self) -> None:
        """Remove everything in the run directory but the lock that this process holds."""
        for entry in self.path.iterdir():
            if entry.name == ".lock":
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def read_summary(self) -> dict[str, Any]:
        """Read ``summary.json``.

        Returns
        -------
        dict
            Empty if there is none yet.

        Raises
        ------
        ValueError
            If the file is damaged.
        """
        path = self.path / "summary.json"
        if not path.exists():
            return {}
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{path} is damaged ({error}): remove it, or start the run over with --fresh"
            ) from error
        if not isinstance(summary, dict):
            raise ValueError(f"{path} is damaged: remove it, or start over with --fresh")
        return summary

    def update_summary(self, **values: Any) -> None:
        """Merge values into ``summary.json``, atomically.

        Parameters
        ----------
        **values : Any
            JSON values; keys with a slash are given as ``**{"val/mae": ...}``.
        """
        write_json(self.path / "summary.json", {**self.read_summary(), **values})
