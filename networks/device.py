"""The device that an option names. Imports torch only."""

from __future__ import annotations

import torch


def usable_device(name: str) -> torch.device:
    """Find the device that an option ``--device`` names.

    Parameters
    ----------
    name : str
        ``auto`` for CUDA where it is available, or what `torch.device` takes.

    Raises
    ------
    ValueError
        If nothing can be computed there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise ValueError(f"--device {name} cannot be used ({reason}): give cpu or auto") from error
    return device
