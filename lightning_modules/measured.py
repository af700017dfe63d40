"""The network and the fixed molecules that `IrrepUtilization` measures.

Imports Lightning and torch only.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch_geometric.data import Batch


def measurable_network(pl_module: LightningModule) -> nn.Module:
    """Get the network, or a float32 copy of one with half-precision parameters.

    Parameters
    ----------
    pl_module : LightningModule
        With ``network``.

    Returns
    -------
    nn.Module

    Raises
    ------
    TypeError
        If there is no network.
    """
    network = getattr(pl_module, "network", None)
    if not isinstance(network, nn.Module):
        raise TypeError(f"{type(pl_module).__name__} has no `network` to measure")
    if any(p.dtype in (torch.float16, torch.bfloat16) for p in network.parameters()):
        return copy.deepcopy(network).float()
    return network


def validation_batches(
    trainer: Trainer, network: nn.Module, count: int, batch_size: int
) -> list[Batch]:
    """Collate the first molecules of the validation part.

    They are the same for any number of processes and any ``limit_val_batches`` if the data module
    has ``splits`` and ``batch(indices)``; otherwise they are the first that the validation loader
    of this process yields.

    Parameters
    ----------
    trainer : Trainer
        With a data module or a validation loader.
    network : nn.Module
        Batches are on its device, positions in its precision.
    count : int
        Number of molecules; fewer if there are not as many.
    batch_size : int
        Molecules a batch, where the data module collates.

    Returns
    -------
    list of Batch
    """
    datamodule: Any = getattr(trainer, "datamodule", None)
    if hasattr(datamodule, "batch") and "val" in getattr(datamodule, "splits", {}):
        indices: Tensor = datamodule.splits["val"][:count]
        batches: Iterator[Batch] = map(datamodule.batch, indices.split(batch_size))
    else:
        batches = _first_molecules(trainer.val_dataloaders, count)
    parameter = next(network.parameters())
    return [_prepare(batch, parameter) for batch in batches if batch.num_graphs > 0]


def _first_molecules(loaders: Any, count: int) -> Iterator[Batch]:
    """Batches of the first validation loader until there are enough molecules."""
    loader = loaders[0] if isinstance(loaders, list | tuple) else loaders
    for batch in loader or ():
        if batch.num_graphs > count:
            batch = Batch.from_data_list(batch.to_data_list()[:count])
        yield batch
        count -= batch.num_graphs
        if count <= 0:
            return


def _prepare(batch: Batch, parameter: Tensor) -> Batch:
    batch = batch.to(parameter.device)
    if batch.pos.dtype != parameter.dtype:
        batch.pos = batch.pos.to(parameter.dtype)
    return batch
