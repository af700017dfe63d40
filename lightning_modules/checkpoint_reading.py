"""Reading checkpoints without executing anything in them.

Imports torch only.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch


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
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise ValueError(f"{path} is not a checkpoint of train.py: name another")
    return checkpoint


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
