"""Pictures, animations, tables and files for W&B, as data that can be sent once more.

Imports the standard library only, and W&B and Pillow where something is sent.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import wandb


@dataclass(frozen=True)
class Picture:
    """A picture on disk."""

    path: Path


@dataclass(frozen=True)
class Animation:
    """A GIF on disk."""

    path: Path


@dataclass(frozen=True)
class Drawing:
    """A picture in a cell of a table, as the content of a PNG file."""

    png: bytes


@dataclass(frozen=True)
class Table:
    """A table; its cells are numbers, text, None or `Drawing`.

    Attributes
    ----------
    columns : sequence of str
    rows : sequence of sequence
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


Media = Picture | Animation | Table


def to_wandb(row: Mapping[str, Any], artifacts: bool) -> dict[str, Any]:
    """Build what W&B logs.

    Parameters
    ----------
    row : mapping
        Values by key. Others than `Media` stay as they are.
    artifacts : bool
        Whether tables become artifacts of W&B too, for which its client asks the server and waits.
        Drawings are kept in artifacts only.
    """
    import wandb

    from records.wandb_internals import MEDIA_FOLDER, FileTable

    MEDIA_FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)

    def convert(value: Any) -> Any:
        if isinstance(value, Picture):
            return wandb.Image(str(value.path))
        if isinstance(value, Animation):
            return wandb.Video(str(value.path), format="gif")
        if not isinstance(value, Table):
            return value
        rows = [[_cell(cell, artifacts) for cell in row] for row in value.rows]
        kind = wandb.Table if artifacts else FileTable
        return kind(columns=list(value.columns), data=rows)

    return {key: convert(value) for key, value in row.items()}


def _cell(value: Any, artifacts: bool) -> Any:
    import wandb
    from PIL import Image

    if not isinstance(value, Drawing):
        return value
    return wandb.Image(Image.open(io.BytesIO(value.png))) if artifacts else None


def save_file(run: wandb.Run, root: Path, name: str) -> None:
    """Name one file to W&B, which uploads it when the run ends or is synchronized.

    The link is made here because W&B's own is absolute, so that it would break when the run's
    directory is moved before it is synchronized, and because W&B warns of every link it makes.

    Parameters
    ----------
    run : wandb.Run
    root : Path
        Directory in which the file is, and relative to which W&B names it.
    name : str
        The file's path below `root`.
    """
    link = Path(run.dir) / name
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # a file system without links: W&B copies the file
            link.symlink_to(os.path.relpath(root / name, link.parent))
    run.save(str(root / name), base_path=str(root), policy="end", glob=False)
