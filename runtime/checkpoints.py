"""Writing checkpoints whole, and reading them without executing anything in them.

Imports torch, Lightning and this package only.
"""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from typing_extensions import override

from records.files import replacing


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there once it is on the disk.

    Lightning writes into the system's temporary directory and moves the file from there: often
    to another file system, where moving is copying. A kill or a full disk then leaves half a
    checkpoint in place of the good one.
    """

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint.

        Parameters
        ----------
        checkpoint : dict
            What `torch.save` takes.
        path : path
            Its place; what is there stays until the new one is complete.
        storage_options : None
            Not used.

        Raises
        ------
        CannotWriteError
            If the disk is full.
        """
        content = io.BytesIO()  # torch's own writer hides the error of a full disk
        torch.save(checkpoint, content)
        with replacing(Path(path)) as temporary, temporary.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())


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
        If there is no such file, it is damaged, it holds code, or it is not one of ours.
    """
    if not path.is_file():
        raise ValueError(f"no checkpoint {path}: train first, or name another")
    try:
        _check_sums(path)
        checkpoint = torch.load(path, weights_only=True, map_location="cpu")
    # What torch's reader raises over a damaged file is anything from KeyError to MemoryError.
    except Exception as error:
        raise ValueError(
            f"checkpoint {path} is damaged or holds code ({type(error).__name__}); nothing in it "
            f"was executed: {_remedy(path)}start the run over with --fresh"
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise ValueError(f"{path} is no checkpoint of train.py: name another")
    return checkpoint


def _check_sums(path: Path) -> None:
    """Compare every part with its CRC-32, which `torch.save` writes and `torch.load` ignores."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged} is not what was written")


def _remedy(path: Path) -> str:
    best = path.with_name("best.ckpt")
    if path.name != "last.ckpt" or not best.is_file():
        return ""
    return f"go on from the best epoch with `cp {best} {path}`, or "
