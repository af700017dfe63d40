"""A refusal of training steps that this machine's memory cannot hold.

Imports torch, `lightning_modules` and the standard library.
"""

from __future__ import annotations

import os

import torch

from lightning_modules.compute_cost import memory_per_molecule
from lightning_modules.molecule_datamodule import MoleculeDataModule
from lightning_modules.regressor import EquivariantRegressor

FEW_EDGES = 1_000_000
"""Batches with fewer edges fit everywhere and are not measured."""
_GB = 1e9


def check_step_memory(
    model: EquivariantRegressor, data: MoleculeDataModule, available: float | None = None
) -> None:
    """Refuse a batch size with which a training step on the CPU would fill the memory.

    Counts what autograd keeps of the first training structures. A step takes more than that, so
    what is refused cannot run.

    Parameters
    ----------
    model : EquivariantRegressor
        On the CPU.
    data : MoleculeDataModule
        Loaded.
    available : float, optional
        Bytes; by default the machine's memory. Without effect where there is a GPU to train on.

    Raises
    ------
    ValueError
        Says what a step would keep, and which batch size would fit.
    """
    if torch.cuda.is_available():
        return
    data.setup()
    rows = data.splits["train"]
    batch_size = min(int(data.hparams["batch_size"]), len(rows))
    if batch_size * int(data.store.num_edges(rows).max()) <= FEW_EDGES:
        return
    memory = machine_memory() if available is None else available
    each = memory_per_molecule(model.network, data)
    if batch_size * each <= memory:
        return
    fitting = int(memory / each)
    smaller = f"--data.batch_size of at most {fitting}, a " if fitting else ""
    raise ValueError(
        f"a training step with data.batch_size {batch_size} keeps about "
        f"{batch_size * each / _GB:.3g} GB, and this machine has {memory / _GB:.3g} GB: give a "
        f"{smaller}smaller --model.cutoff or network, or smaller structures"
    )


def machine_memory() -> float:
    """Look up the machine's memory, bytes."""
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
