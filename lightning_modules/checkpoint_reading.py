"""Reading checkpoints without executing anything in them.

Imports torch only.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DEEPEST = 50
"""Levels of nested values in a checkpoint."""
MOST_VALUES = 1_000_000
"""Values in a checkpoint, those of its tensors not counted."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint written by `train.py` onto the CPU.

    Parameters
    ----------
    path : Path
        ``best.ckpt`` or ``last.ckpt`` of a run.

    Returns
    -------
    dict
        With ``state_dict``, ``hyper_parameters`` and ``epoch`` among others.

    Raises
    ------
    ValueError
        If there is no such file, it is damaged, it holds code, or `train.py` did not write it.
    """
    if not path.is_file():
        raise ValueError(f"no checkpoint {path}: train first, or name another")
    try:
        _check_archive(path)
        checkpoint = torch.load(path, weights_only=True, map_location="cpu")
    # For a damaged file, torch's reader raises anything from KeyError to MemoryError.
    except Exception as error:
        raise ValueError(
            f"checkpoint {path} is damaged or holds code ({type(error).__name__}); nothing in it "
            f"was executed: {_remedy(path)}start the run over with --fresh"
        ) from error
    if problem := _problem(checkpoint):
        raise ValueError(f"{path} is not a checkpoint of train.py ({problem}): name another")
    return checkpoint  # type: ignore[no-any-return]


def _problem(checkpoint: Any) -> str | None:
    """Say why something that was loaded is no checkpoint; None if it may be one."""
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        return "it holds no weights"
    if not all(isinstance(weight, Tensor) for weight in checkpoint["state_dict"].values()):
        return "its weights are no tensors"
    # Without recursion, and each value as often as it is referred to: that is how others read it.
    left, seen = [(checkpoint, 0)], 0
    while left:
        value, depth = left.pop()
        seen += 1
        if depth > DEEPEST:
            return "it is nested too deeply"
        if seen > MOST_VALUES:
            return f"it holds more than {MOST_VALUES:,} values"
        if isinstance(value, dict):
            left += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            left += [(inner, depth + 1) for inner in value]
    return None


def _check_archive(path: Path) -> None:
    """Compare each part with its CRC-32, which `torch.save` writes and `torch.load` ignores."""
    with zipfile.ZipFile(path) as archive:
        # `torch.save` does not compress, so what is larger than its file would fill the memory.
        if sum(part.file_size for part in archive.infolist()) > path.stat().st_size:
            raise zipfile.BadZipFile("its parts are larger than the file")
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"the checksum of {damaged} does not match")


def _remedy(path: Path) -> str:
    """Name the best checkpoint as a replacement for a damaged last one."""
    best = path.with_name("best.ckpt")
    if path.name != "last.ckpt" or not best.is_file():
        return ""
    return f"continue from the best epoch with `cp {best} {path}`, or "
