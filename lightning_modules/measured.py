"""What callbacks need of a module and of its data to measure a network.

Imports Lightning, NumPy, torch, torch_geometric, `networks.layered` and this package.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Protocol, cast

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Batch

from lightning_modules.molecule_datamodule import MoleculeDataModule
from lightning_modules.weight_averaging import WeightAverage
from networks.layered import LayeredNetwork

MEASURED_PART = "val_measure"
"""Part of the data on which networks are measured. No checkpoint is selected on it."""
MOST_EDGES_AT_ONCE = 500_000
"""Most edges of a measured batch; 256 of QM9's largest molecules have fewer."""
MOST_EDGES_KEPT = 2_000_000
"""Most edges of molecules whose features are all kept, about 5 GB; 2,000 of QM9's have fewer."""


class ReportedTarget(Protocol):
    """A target and its units, as `qm9.targets.Target`."""

    @property
    def name(self) -> str:
        """E.g. ``U0``."""

    @property
    def unit(self) -> str:
        """Unit of ``y`` in batches, e.g. ``eV``."""

    @property
    def reporting_unit(self) -> str:
        """Unit of errors, e.g. ``meV``."""

    @property
    def reporting_factor(self) -> float:
        """Reporting units in one `unit`, e.g. 1000."""


class MeasurableModule(Protocol):
    """What callbacks need of a LightningModule.

    The whole prediction of a batch, in the target's unit, is
    ``network(batch) * target_std + reference_of(batch)``.
    """

    @property
    def network(self) -> LayeredNetwork:
        """Predicts the standardized target."""

    @property
    def target(self) -> ReportedTarget:
        """What is predicted."""

    @property
    def target_std(self) -> Tensor:
        """[] float64, one standardized unit in the target's unit."""

    @property
    def device(self) -> torch.device:
        """Device of the network."""

    def reference_of(self, batch: Batch) -> Tensor:
        """[g] float64, what is added to each molecule's prediction, in the target's unit."""


class MeasurableData(Protocol):
    """What callbacks need of a LightningDataModule."""

    @property
    def splits(self) -> Mapping[str, Tensor]:
        """Part names to [molecules] int64 indices; among them `MEASURED_PART`."""

    def batch(self, indices: Tensor | Sequence[int]) -> Batch:
        """Collate any molecules, with ``y`` [g] in the target's unit."""

    def smiles(self, index: int) -> str:
        """SMILES of one molecule."""


_MODULE_NEEDS = {
    "network": "a networks.layered.LayeredNetwork",
    "target": "an object with name, unit, reporting_unit and reporting_factor",
    "target_std": "a scalar tensor, one standardized unit in the target's unit",
    "reference_of": "a method from a batch to each molecule's reference in the target's unit",
}
_DATA_NEEDS = {
    "splits": f"indices by part, among them {MEASURED_PART!r}",
    "batch": "a method from indices to a batch",
    "smiles": "a method from an index to a SMILES string",
}


def measurable_module(module: object) -> MeasurableModule:
    """Check that a LightningModule offers everything that measuring its network takes.

    Parameters
    ----------
    module : LightningModule
        Any.

    Returns
    -------
    MeasurableModule
        The same object.

    Raises
    ------
    TypeError
        If something is missing; says what, and what it must be.
    """
    missing = [name for name in _MODULE_NEEDS if not hasattr(module, name)]
    if "network" not in missing and not isinstance(module.network, LayeredNetwork):  # type: ignore[attr-defined]
        missing.append("network")
    if "target" not in missing and not all(
        hasattr(module.target, name)  # type: ignore[attr-defined]
        for name in ("name", "unit", "reporting_unit", "reporting_factor")
    ):
        missing.append("target")
    _refuse(module, "measured", missing, _MODULE_NEEDS)
    return cast(MeasurableModule, module)


def measurable_data(datamodule: object) -> MeasurableData:
    """Check that a LightningDataModule offers everything that measuring a network takes.

    Parameters
    ----------
    datamodule : LightningDataModule
        Any, after ``setup``.

    Returns
    -------
    MeasurableData
        The same object.

    Raises
    ------
    TypeError
        If something is missing; says what, and what it must be.
    """
    missing = [name for name in _DATA_NEEDS if not hasattr(datamodule, name)]
    if "splits" not in missing and MEASURED_PART not in datamodule.splits:  # type: ignore[attr-defined]
        missing.append("splits")
    _refuse(datamodule, "measured on", missing, _DATA_NEEDS)
    return cast(MeasurableData, datamodule)


def _refuse(given: object, use: str, missing: Sequence[str], needs: Mapping[str, str]) -> None:
    if missing:
        wanted = "; ".join(f"`{name}`, {need}" for name, need in needs.items() if name in missing)
        raise TypeError(f"{type(given).__name__} cannot be {use}: it must have {wanted}")


def device_is_lost(error: BaseException) -> bool:
    """Say whether an error has left the device unusable, so that training cannot go on either.

    After an illegal access or a failed assertion in a kernel, every later call of CUDA fails. What
    the device was too small for, it can do without.

    Parameters
    ----------
    error : BaseException
        Raised while something was measured.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return False
    return isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error)


@contextmanager
def evaluated_weights(trainer: Trainer, module: LightningModule) -> Iterator[None]:
    """Have the weights in the module that validation runs on and checkpoints hold.

    They are the averaged ones where `lightning_modules.weight_averaging.WeightAverage` is at work,
    and otherwise those in training.

    Parameters
    ----------
    trainer : Trainer
        Trainer of the module, at any time.
    module : LightningModule
        Its weights in training are put back after the block.
    """
    averages = [c for c in trainer.callbacks if isinstance(c, WeightAverage)]  # type: ignore[attr-defined]
    with averages[0].averaged_weights(module) if averages else nullcontext():
        yield


def measurable_network(module: MeasurableModule) -> LayeredNetwork:
    """Get the network, or a float32 copy of one with half-precision parameters.

    Parameters
    ----------
    module : MeasurableModule
        As checked by `measurable_module`.
    """
    network = module.network
    if any(p.dtype in (torch.float16, torch.bfloat16) for p in network.parameters()):
        return copy.deepcopy(network).float()
    return network


def measured_batches(
    data: MeasurableData,
    network: LayeredNetwork,
    count: int,
    batch_size: int,
    part: str = MEASURED_PART,
) -> list[Batch]:
    """Collate the first molecules of a part.

    They are the same for any number of processes and any ``limit_val_batches``.

    Parameters
    ----------
    data : MeasurableData
        As checked by `measurable_data`.
    network : LayeredNetwork
        Batches are on its device, positions in its precision.
    count : int
        Number of molecules; fewer if the part has fewer.
    batch_size : int
        Molecules per batch; fewer if these are so large that they would have more than
        `MOST_EDGES_AT_ONCE` edges.
    part : str
        Key of `data.splits`.
    """
    indices = data.splits[part][:count]
    parameter = next(network.parameters())
    largest = int(_num_edges(data, indices).max(initial=1))
    batch_size = min(batch_size, max(1, MOST_EDGES_AT_ONCE // max(1, largest)))
    return [
        _prepared(data.batch(indices[first : first + batch_size]), parameter)
        for first in range(0, len(indices), batch_size)
    ]


def count_to_keep(data: MeasurableData, count: int, part: str) -> int:
    """Limit the number of molecules whose features are all kept at a time.

    Parameters
    ----------
    data : MeasurableData
        As checked by `measurable_data`.
    count : int
        Number of molecules asked for.
    part : str
        Key of `data.splits`.

    Returns
    -------
    int
        `count`, or as many of the part's first molecules as have `MOST_EDGES_KEPT` edges together;
        at least one.
    """
    edges = _num_edges(data, data.splits[part][:count]).cumsum()
    within = int((edges <= MOST_EDGES_KEPT).sum())
    return count if within == len(edges) else max(1, within)


def _num_edges(data: MeasurableData, indices: Tensor) -> NDArray[np.int64]:
    """Look up the number of edges of molecules; those of foreign data count as small."""
    if isinstance(data, MoleculeDataModule):
        return data.store.num_edges(indices)
    return np.zeros(len(indices), dtype=np.int64)


def _prepared(batch: Batch, parameter: Tensor) -> Batch:
    batch = batch.to(parameter.device)
    if batch.pos.dtype != parameter.dtype:
        batch.pos = batch.pos.to(parameter.dtype)
    return batch


def training_batches(
    data: MeasurableData, module: MeasurableModule, network: LayeredNetwork, size: int, seed: int
) -> Iterator[Batch]:
    """Collate random training molecules without end, in passes over the training part.

    Parameters
    ----------
    data : MeasurableData
        As checked by `measurable_data`; with the part ``train``.
    module : MeasurableModule
        Gives each molecule's reference, which is subtracted from ``y``.
    network : LayeredNetwork
        Batches are on its device, positions in its precision.
    size : int
        Molecules per batch.
    seed : int
        Seed of the order; the global random state is neither read nor changed.

    Yields
    ------
    Batch
    """
    generator = torch.Generator().manual_seed(seed)
    parameter = next(network.parameters())
    rows = data.splits["train"]
    while True:
        for indices in rows[torch.randperm(len(rows), generator=generator)].split(size):
            yield without_reference(_prepared(data.batch(indices), parameter), module)


def without_reference(batch: Batch, module: MeasurableModule) -> Batch:
    """Subtract each molecule's reference from ``y``, in place, so that it is what a network learns.

    Parameters
    ----------
    batch : Batch
        With ``y`` [g] in target units.
    module : MeasurableModule
        Gives the reference.

    Returns
    -------
    Batch
        The same.
    """
    reference = module.reference_of(batch)
    batch.y = batch.y.to(reference.dtype) - reference
    return batch
