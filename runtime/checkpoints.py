"""Reading checkpoints without executing anything in them.

Imports torch only.
"""

from __future__ import annotations

import pickle
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
        If there is no such file, it is damaged, it holds code, or it is not one of ours.
    """
    if not path.is_file():
        raise ValueError(f"no checkpoint {path}: train first, or name another")
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"checkpoint {path} is damaged or holds code ({type(error).__name__}); nothing in it "
            "was executed: remove it, or start the run over with --fresh"
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise ValueError(f"{path} is no checkpoint of train.py: name another")
    return checkpoint
