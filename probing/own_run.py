"""A run of ``train.py`` as a model to be probed.

Imports torch, `lightning_modules`, `records` and this package.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch

from lightning_modules.calculator import EV, IrrepscopeCalculator
from lightning_modules.checkpoint_reading import read_checkpoint
from lightning_modules.regressor import EquivariantRegressor
from probing.model import ProbedModel, calculated_energies
from qm9.targets import ELEMENTS
from records.run_files import is_run_directory

MAX_ATOMIC_NUMBER = 119
DEFAULT_CUTOFF = 6.0
"""Angstrom, of runs from before the cutoff was kept; they are on bonds, where it has no effect."""
NOT_IN_PROBING = {"compile": False, "cuda_graph": False}
"""Options that would prepare the network for long training."""


def load_own_run(path: Path, device: torch.device) -> ProbedModel:
    """Load the best checkpoint of a run.

    Parameters
    ----------
    path : Path
        Directory of the run.
    device : torch.device
        Where to compute.

    Raises
    ------
    ValueError
        If it is no run, or its checkpoint is missing or damaged.
    """
    if not is_run_directory(path):
        raise ValueError(f"{path} is not a run: give the directory of one, e.g. runs/NAME")
    checkpoint = read_checkpoint(path / "checkpoints" / "best.ckpt")
    options: dict[str, Any] = checkpoint["hyper_parameters"]
    names = inspect.signature(EquivariantRegressor).parameters
    module = EquivariantRegressor(
        **{name: value for name, value in options.items() if name in names} | NOT_IN_PROBING
    )
    weights = checkpoint["state_dict"]
    is_double = any(
        w.dtype == torch.float64 for n, w in weights.items() if n.startswith("network.")
    )
    module.to(device=device, dtype=torch.float64 if is_double else None).eval()
    module.load_state_dict(weights)
    data = dict(checkpoint.get("datamodule_hyper_parameters") or {})
    graph = str(data.get("graph", "bonds"))
    # Elements without a reference were not in the training part.
    known = ~module.reference.weights.isnan()
    has_calculator = (
        graph == "radius" and module.target.unit in EV and hasattr(module.network, "cutoff")
    )
    return ProbedModel(
        name=str(path),
        network=module.network,
        target=module.target,
        cutoff=float(data.get("cutoff", DEFAULT_CUTOFF)),
        graph=graph,
        std=float(module.target_std),
        reference=module.reference_of,
        elements=frozenset(known.nonzero().flatten().tolist()) & _seen(data),
        own_energies=(lambda s: _energies(path, s, device)) if has_calculator else None,
        data_options=data,
    )


def _seen(data: dict[str, Any]) -> frozenset[int]:
    """Elements that the run's data can have held."""
    return frozenset(range(MAX_ATOMIC_NUMBER)) if data.get("path") else frozenset(ELEMENTS)


def _energies(path: Path, structures: Any, device: torch.device) -> list[float]:
    """Compute energies (eV) with the run's ASE calculator, which loads the checkpoint itself."""
    return calculated_energies(IrrepscopeCalculator(path, device=device), structures)
