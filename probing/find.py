"""From the name of a model on the command line to the model.

Imports torch and this package.
"""

from __future__ import annotations

from pathlib import Path

import torch

from probing.model import ProbedModel

MODELS = (
    "the directory of a run (runs/NAME), sevenn:7net-0, sevenn:7net-l3i5, sevenn:FILE.pth, "
    "mace:FILE, or an adapter of your own, FILE.py:factory or module:factory"
)
"""What may be probed, for messages."""


def find_model(
    name: str, device: torch.device, mace_python: Path | None, trust_pickle: bool = False
) -> ProbedModel:
    """Load a model.

    Parameters
    ----------
    name : str
        See `MODELS`.
    device : torch.device
        Where to compute.
    mace_python : Path or None
        An interpreter that has mace-torch, for MACE.
    trust_pickle : bool
        Whether the user vouches for a model file of MACE, which may hold code.

    Raises
    ------
    ValueError
        If there is no such model, or it cannot be loaded.
    """
    # Each imports a package of its own, some of which take seconds.
    if name.startswith("sevenn:"):
        from probing.sevennet import load_sevennet

        return load_sevennet(name.partition(":")[2], device)
    if name.startswith("mace:"):
        from probing.mace import load_mace

        return load_mace(name.partition(":")[2], mace_python, trust_pickle)
    if Path(name).is_dir():
        from probing.own_run import load_own_run

        return load_own_run(Path(name), device)
    if ":" in name:
        from probing.own_module import load_own_module

        return load_own_module(name, device)
    raise ValueError(f"{name} is no model: give {MODELS}")
