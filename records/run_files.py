"""The files that `train.py` writes into a run's directory, and how to recognize such a directory.

Imports the standard library and this package only.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from records.files import is_leftover_of
from records.locks import MARKER_SUFFIX

LOCK = ".lock"
SUMMARY = "summary.json"
REPORTED_FILES = (
    SUMMARY,
    "metrics.csv",
    "utilization.csv",
    "utilization_best.csv",
    "decomposition.csv",
    "nested.csv",
    "latents/metrics.csv",
)
"""What ``report.py`` computes from; W&B gets these files, too."""
PRUNED_FILES = (
    "state.json",
    "point_*.ckpt",
    "point_*.npz",
    "control_*.ckpt",
    "front.csv",
    "front.png",
)
"""What ``prune.py`` writes into its folder."""
PRUNED_FOLDERS = tuple(
    f"pruned/{way}" for way in ("missed", "nested", "taylor", "magnitude", "random", "chosen")
)
"""Folders of a run that ``prune.py`` writes into."""
RUN_FILES: dict[str, tuple[str, ...]] = {
    "": (
        "config.yaml",
        "summary.json",
        "metrics.csv",
        "utilization.csv",
        "utilization_best.csv",
        "decomposition.csv",
        "nested.csv",
        "splits.npz",
        "error.txt",
        "predictions.csv",
        "predictions_*.csv",
    ),
    "checkpoints": ("best.ckpt", "last.ckpt"),
    "utilization": ("untrained.png", "best.png", "epoch_*.png"),
    "nested": ("epoch_*.png",),
    "latents": (
        "epoch_*.npz",
        "epoch_*.png",
        "pending_*.npz",
        "best.npz",
        "best.png",
        "molecules.npz",
        "molecules.csv",
        "metrics.csv",
        "animation.gif",
        "worker.log",
    ),
    **dict.fromkeys(PRUNED_FOLDERS, PRUNED_FILES),
    "pruned": (),
}
"""Patterns of file names by folder of the run's directory."""
WANDB_ENTRIES = (
    "run-*-*",
    "offline-run-*-*",
    "latest-run",
    "debug.log",
    "debug-internal.log",
    "set-aside",
)
"""What W&B writes below ``wandb``, and its offline runs that were set aside."""
_FIRST_LINES = {
    "summary.json": re.compile(r'\{\s*"run_name": '),
    "config.yaml": re.compile(r"(# lightning\.pytorch==\S+\n)?seed_everything: \S+\ntrainer:\n"),
}
"""How the files begin that show whose directory it is."""


def is_run_directory(directory: Path) -> bool:
    """Return whether `train.py` has written a directory.

    Parameters
    ----------
    directory : Path
        May be missing. A run is recognized by the beginning of its summary.json or config.yaml,
        so a run whose files were truncated is still one.
    """
    return any(
        pattern.match(_beginning(directory / name)) is not None
        for name, pattern in _FIRST_LINES.items()
    )


def _beginning(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(200)
    except OSError:
        return ""


def linked_folders(directory: Path) -> list[Path]:
    """List what is a symbolic link among a run's directory and its folders.

    Parameters
    ----------
    directory : Path
        A run's directory; may be missing.
    """
    folders = [directory, *(directory / folder for folder in RUN_FILES if folder)]
    return [folder for folder in (*folders, directory / "wandb") if folder.is_symlink()]


def holds_files(directory: Path) -> bool:
    """Return whether a directory holds anything besides the lock of a run and leftovers."""
    if not directory.is_dir():
        return False
    leftovers = set(_leftovers(directory, RUN_FILES))
    locks = (LOCK, LOCK + MARKER_SUFFIX)
    return any(entry.name not in locks and entry not in leftovers for entry in directory.iterdir())


def remove_run_files(directory: Path) -> None:
    """Remove a run's files, and the folders that are empty then. The lock and other files stay.

    Parameters
    ----------
    directory : Path
        A run's directory. No symbolic link is followed.
    """
    remove_leftovers(directory)
    for folder, patterns in RUN_FILES.items():
        remove_files(directory / folder, patterns)
    for folder in ("", *PRUNED_FOLDERS):
        remove_wandb_files(directory / folder)
    for name in (folder for folder in RUN_FILES if folder):
        _remove_if_empty(directory / name)


def remove_files(folder: Path, patterns: Sequence[str]) -> None:
    """Remove the files of a folder whose names match; links are removed, not followed.

    Parameters
    ----------
    folder : Path
        May be missing.
    patterns : sequence of str
        As in `fnmatch`.
    """
    for path in _entries(folder):
        if _matches(path, patterns) and (path.is_symlink() or path.is_file()):
            path.unlink(missing_ok=True)


def remove_wandb_files(directory: Path) -> None:
    """Remove what W&B has written below ``wandb``, and the folder if it is empty then.

    Parameters
    ----------
    directory : Path
        Folder that holds ``wandb``.
    """
    for path in _entries(directory / "wandb"):
        if not _matches(path, WANDB_ENTRIES):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    _remove_if_empty(directory / "wandb")


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
        folder.rmdir()


def remove_leftovers(directory: Path, files: Mapping[str, Sequence[str]] = RUN_FILES) -> None:
    """Remove the temporary files of a run that killed processes have left.

    Parameters
    ----------
    directory : Path
        A run's directory. No other process may be writing there. No symbolic link to a folder of
        the run is followed.
    files : mapping
        Patterns of the files by folder.
    """
    for leftover in list(_leftovers(directory, files)):
        leftover.unlink(missing_ok=True)


def _leftovers(directory: Path, files: Mapping[str, Sequence[str]]) -> Iterator[Path]:
    """Find the temporary files that `records.files.replacing` has made for these files."""
    for folder, patterns in files.items():
        for path in _entries(directory / folder):
            if any(is_leftover_of(pattern, path.name) for pattern in patterns):
                yield path


def _matches(path: Path, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(path.name, pattern) for pattern in patterns)


def _entries(folder: Path) -> list[Path]:
    """List a folder of the run, unless it is missing or a link."""
    return [] if folder.is_symlink() or not folder.is_dir() else sorted(folder.iterdir())
