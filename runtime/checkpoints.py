"""Writing checkpoints atomically, and reading them without executing anything in them.

Imports torch, Lightning, `lightning_modules.checkpoint_reading` and `records`.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.plugins.io import TorchCheckpointIO
from typing_extensions import override

from lightning_modules.checkpoint_reading import read_checkpoint as read_checkpoint
from records.files import replacing

RESUMABLE = (
    "epoch",
    "global_step",
    "pytorch-lightning_version",
    "loops",
    "callbacks",
    "optimizer_states",
    "lr_schedulers",
)
"""What training needs of a checkpoint beside the weights."""


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


def holds_double_precision(path: Path) -> bool:
    """Return whether the network of a checkpoint has weights of 64 bits.

    Raises
    ------
    ValueError
        If the checkpoint is unusable.
    """
    weights = read_checkpoint(path)["state_dict"].items()
    return any(w.dtype == torch.float64 for name, w in weights if name.startswith("network."))


def check_resumable(path: Path, module: LightningModule) -> int:
    """Check that training can go on from a checkpoint, before anything of it is restored.

    Parameters
    ----------
    path : Path
        ``last.ckpt`` of a run.
    module : LightningModule
        To be trained.

    Returns
    -------
    int
        Last finished epoch.

    Raises
    ------
    ValueError
        If the checkpoint is unusable, lacks something, or holds another network.
    """
    checkpoint, own = read_checkpoint(path), module.state_dict()
    weights = checkpoint["state_dict"]
    lacking = [name for name in RESUMABLE if name not in checkpoint]
    different = [
        name
        for name in own.keys() | weights.keys()
        if name not in own or name not in weights or own[name].shape != weights[name].shape
    ]
    if lacking or not isinstance(checkpoint["epoch"], int):
        problem = f"it lacks {', '.join(lacking) or 'its epoch'}"
    elif different:
        problem = f"it holds another network: {min(different)} differs"
    else:
        return checkpoint["epoch"]
    raise ValueError(
        f"training cannot go on from checkpoint {path} ({problem}): start the run over with --fresh"
    )


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
