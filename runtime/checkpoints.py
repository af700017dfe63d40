"""Writing checkpoints atomically, and reading them without executing anything in them.

Imports torch, Lightning and `records` only.
"""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.plugins.io import TorchCheckpointIO
from typing_extensions import override

from records.files import replacing


class WholeCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its destination, and move it there once it is on the disk.

    Lightning writes it to the system's temporary directory instead. Moving it from there often
    means copying it to another file system, and a kill or a full disk then leaves half a
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
            Anything that `torch.save` accepts.
        path : path
            Destination. An earlier checkpoint stays there until the new one is complete.
        storage_options : None
            Ignored.

        Raises
        ------
        CannotWriteError
            If the disk is full.
        """
        write_checkpoint(Path(path), checkpoint)


def write_checkpoint(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write a checkpoint beside its destination, and move it there once it is on the disk.

    Parameters
    ----------
    path : Path
        Destination.
    checkpoint : dict
        Anything that `torch.save` accepts.

    Raises
    ------
    CannotWriteError
        If the disk is full.
    """
    # In memory first: torch's writer of files does not report a full disk as such.
    content = io.BytesIO()
    torch.save(checkpoint, content)
    with replacing(path) as temporary, temporary.open("wb") as file:
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


def holds_double_precision(path: Path) -> bool:
    """Return whether the network of a checkpoint has weights of 64 bits.

    Raises
    ------
    ValueError
        If the checkpoint is unusable.
    """
    weights = read_checkpoint(path)["state_dict"].items()
    return any(w.dtype == torch.float64 for name, w in weights if name.startswith("network."))


def load_network(module: LightningModule, path: Path) -> None:
    """Load the network of a checkpoint, and nothing else of it.

    Parameters
    ----------
    module : LightningModule
        Has a ``network``, which gets the weights.
    path : Path
        Written by `train.py` or `prune.py`.

    Raises
    ------
    ValueError
        If the checkpoint is unusable, or holds another network.
    """
    prefix = "network."
    weights = {
        name.removeprefix(prefix): value
        for name, value in read_checkpoint(path)["state_dict"].items()
        if name.startswith(prefix)
    }
    try:
        module.get_submodule("network").load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"checkpoint {path} holds another network ({reason})") from error


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
