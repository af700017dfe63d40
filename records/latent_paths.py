"""Names of the files in ``<run>/latents``.

One *frame* is what was drawn at one moment of a run: its key is the epoch's number, or `BEST` for
the best checkpoint at the end. Imports the standard library and this package only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from records.names import UNTRAINED
from records.run_files import RUN_FILES, remove_leftovers

Frame = int | Literal["best"]
BEST: Literal["best"] = "best"
"""Key of the frame that shows the best checkpoint."""
MOLECULES = "molecules.npz"
ANIMATION = "animation.gif"
MOLECULE_TABLE = "molecules.csv"
METRIC_TABLE = "metrics.csv"
LOG = "worker.log"


def picture_path(directory: Path, frame: Frame) -> Path:
    """PNG of a frame: ``epoch_007.png``, ``best.png``.

    The untrained network's is ``epoch_-01.png``, which sorts first.
    """
    return directory / f"{BEST if frame == BEST else f'epoch_{frame:03d}'}.png"


def epoch_path(directory: Path, frame: Frame) -> Path:
    """Layouts and measures of a frame: ``epoch_007.npz``, ``best.npz``."""
    return picture_path(directory, frame).with_suffix(".npz")


def snapshot_path(directory: Path, frame: Frame) -> Path:
    """Features that have still to be laid out: ``pending_007.npz``, ``pending_best.npz``."""
    return directory / f"pending_{BEST if frame == BEST else f'{frame:03d}'}.npz"


def epochs_in(directory: Path, prefix: str = "epoch_", suffix: str = ".npz") -> list[int]:
    """List the epochs that have a file.

    Parameters
    ----------
    directory : Path
        ``<run>/latents``; may be missing.
    prefix, suffix : str
        What the file's name has before and after the number.

    Returns
    -------
    list of int
        Ascending.
    """
    files = directory.glob(f"{prefix}*{suffix}")
    numbers = (path.name[len(prefix) : -len(suffix)] for path in files)
    return sorted({int(n) for n in numbers if n.removeprefix("-").isdigit()})


def pending_frames(directory: Path) -> list[Frame]:
    """List the frames whose snapshot has still to be laid out: epochs ascending, then `BEST`."""
    epochs: list[Frame] = [*epochs_in(directory, "pending_")]
    return [*epochs, BEST] if snapshot_path(directory, BEST).exists() else epochs


def final_frame(directory: Path) -> Frame | None:
    """Choose the frame that stands for the finished run.

    Parameters
    ----------
    directory : Path
        ``<run>/latents``; may be missing.

    Returns
    -------
    int, "best" or None
        `BEST` if it was drawn, else the last epoch, else None.
    """
    if epoch_path(directory, BEST).exists():
        return BEST
    return max(epochs_in(directory), default=None)


def remove_after(directory: Path, epoch: int | None) -> None:
    """Remove what a resumed run will make again, and half-written files.

    That is: later epochs, the best checkpoint's frame, the animation and the tables.

    Parameters
    ----------
    directory : Path
        ``<run>/latents``; may be missing.
    epoch : int or None
        Last epoch to keep; None keeps none.
    """
    last = UNTRAINED - 1 if epoch is None else epoch
    for prefix, suffix in (("epoch_", ".npz"), ("epoch_", ".png"), ("pending_", ".npz")):
        for number in epochs_in(directory, prefix, suffix):
            if number > last:
                (directory / f"{prefix}{number:03d}{suffix}").unlink(missing_ok=True)
    best = (f"{BEST}.*", f"pending_{BEST}.npz")
    for pattern in (*best, ANIMATION, MOLECULE_TABLE, METRIC_TABLE):
        for path in directory.glob(pattern):
            path.unlink(missing_ok=True)
    remove_leftovers(directory, {"": RUN_FILES["latents"]})
