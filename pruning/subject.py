"""`Subject`: a trained run, loaded to be pruned.

Imports torch, `analysis`, `lightning_modules`, `networks`, `records` and `runtime`.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch

from analysis.measurement import TargetScale
from lightning_modules.extxyz_datamodule import ExtXYZDataModule
from lightning_modules.measured import (
    MEASURED_PART,
    measured_batches,
    training_batches,
    without_reference,
)
from lightning_modules.molecule_datamodule import MoleculeDataModule
from lightning_modules.qm9_datamodule import QM9DataModule
from lightning_modules.regressor import EquivariantRegressor
from networks.layered import LayeredNetwork
from networks.restriction import kept_to_json
from records.run_files import is_run_directory
from records.summary import read_summary
from runtime.checkpoints import read_checkpoint, write_checkpoint

NOT_IN_PRUNING = {"compile": False, "cuda_graph": False}
"""Options of the model that would prepare one network, where pruning makes many."""
BATCH_SIZE = 256
"""Molecules at a time where no gradients of weights are taken."""
CHOOSING = 1000
"""Validation molecules, at most, on which removals are compared. They select no checkpoint."""


@dataclass
class Subject:
    """A run's best network, its data and what both take to be measured.

    Attributes
    ----------
    path : Path
        The run's directory.
    checkpoint : dict
        Content of ``checkpoints/best.ckpt``.
    digest : str
        SHA-256 of that file.
    module : EquivariantRegressor
        With the checkpoint's weights, on the device.
    data : MoleculeDataModule
        Set up, with the run's own split.
    """

    path: Path
    checkpoint: dict[str, Any]
    digest: str
    module: EquivariantRegressor
    data: MoleculeDataModule

    @property
    def network(self) -> LayeredNetwork:
        """The intact network."""
        return self.module.network

    @property
    def scale(self) -> TargetScale:
        """From standardized to reporting units."""
        factor = float(self.module.target.reporting_factor)
        return TargetScale(std=float(self.module.target_std), factor=factor)

    @property
    def batch_size(self) -> int:
        """Molecules per training step."""
        return int(self.data.hparams["batch_size"])

    @property
    def steps_per_epoch(self) -> float:
        """Optimizer steps in which every training molecule is seen once."""
        return len(self.data.splits["train"]) / self.batch_size

    def choosing_batches(self) -> list[Batch]:
        """Collate the validation molecules on which removals are compared."""
        return self._batches(MEASURED_PART, CHOOSING)

    def test_batches(self, count: int) -> list[Batch]:
        """Collate the first `count` test molecules."""
        return self._batches("test", count)

    def training_batches(self, seed: int) -> Iterator[Batch]:
        """Collate random training molecules without end."""
        size = self.batch_size
        return training_batches(self.data, self.module, self.network, size, seed)

    def _batches(self, part: str, count: int) -> list[Batch]:
        batches = measured_batches(self.data, self.network, count, BATCH_SIZE, part)
        return [without_reference(batch, self.module) for batch in batches]

    @torch.no_grad()
    def errors(self, network: LayeredNetwork, batches: list[Batch]) -> Tensor:
        """Find the absolute errors of a network.

        Parameters
        ----------
        network : LayeredNetwork
            In evaluation mode.
        batches : list of Batch
            From `choosing_batches` or `test_batches`.

        Returns
        -------
        Tensor
            [g] float64 on the CPU, reporting units.
        """
        return torch.cat([self.scale.error(network(b), b.y) for b in batches]).cpu()

    def write(self, network: LayeredNetwork, path: Path, origin: dict[str, Any]) -> None:
        """Write a smaller network as a checkpoint that `train.py` accepts.

        Parameters
        ----------
        network : LayeredNetwork
            Restricted from `network`.
        path : Path
            File.
        origin : dict
            Where the network comes from, kept in the checkpoint as ``pruned_from``.
        """
        state = {
            name: value
            for name, value in self.checkpoint["state_dict"].items()
            if not name.startswith("network.")
        }
        state |= {f"network.{n}": v.detach().cpu() for n, v in network.state_dict().items()}
        options = dict(self.checkpoint["hyper_parameters"])
        # Neither subsets nor penalties: the smaller network may have no irrep that they concern.
        plain = {"irrep_dropout": "none", "group_lasso": 0.0, "power_balance": 0.0}
        options |= {"kept": kept_to_json(network.kept), "inner_irreps": None, **plain}
        carried = ("epoch", "global_step", "pytorch-lightning_version")
        write_checkpoint(
            path,
            {
                **{key: self.checkpoint[key] for key in carried if key in self.checkpoint},
                "state_dict": state,
                "hyper_parameters": options,
                "datamodule_hyper_parameters": dict(self.data.hparams),
                "pruned_from": {"run": self.path.name, "sha256": self.digest, **origin},
            },
        )

    def read(self, path: Path) -> LayeredNetwork:
        """Read a network that `write` has written.

        Raises
        ------
        ValueError
            If the file is missing or damaged.
        """
        checkpoint = read_checkpoint(path)
        module = _build_module(checkpoint)
        reference = next(self.network.parameters())
        module.to(device=reference.device, dtype=reference.dtype).eval()
        module.load_state_dict(checkpoint["state_dict"])
        return module.network


def load_subject(run: Path, device: torch.device) -> Subject:
    """Load a finished run.

    Parameters
    ----------
    run : Path
        Its directory.
    device : torch.device
        Where to compute.

    Raises
    ------
    ValueError
        If it is no finished run of `train.py`, its checkpoint is missing or damaged, or its
        network cannot be restricted.
    """
    if not is_run_directory(run):
        raise ValueError(
            f"{run} is not a run: give the directory of a finished run, e.g. runs/NAME"
        )
    summary = read_summary(run / "summary.json")
    if summary is None or not summary.finished:
        status = "unfinished" if summary is None else summary.status or "unfinished"
        raise ValueError(f"{run} is {status}: train it to its end first, with the same command")
    path = run / "checkpoints" / "best.ckpt"
    checkpoint = read_checkpoint(path)
    if checkpoint["hyper_parameters"].get("force_weight"):
        raise ValueError(
            f"{run} was trained on forces, which prune.py would not train on: give a run with "
            "model.force_weight 0"
        )
    module = _build_module(checkpoint)
    weights = (v for n, v in checkpoint["state_dict"].items() if n.startswith("network."))
    is_double = any(weight.dtype == torch.float64 for weight in weights)
    module.to(device=device, dtype=torch.float64 if is_double else None).eval()
    module.load_state_dict(checkpoint["state_dict"])
    _check_network(module.network, run)
    data = _build_data(checkpoint["datamodule_hyper_parameters"])
    data.prepare_data()
    data.setup()
    data.check_splits(run / "splits.npz")
    return Subject(run, checkpoint, hashlib.sha256(path.read_bytes()).hexdigest(), module, data)


def check_alike(subjects: list[Subject]) -> None:
    """Refuse runs that cannot be pruned together.

    Raises
    ------
    ValueError
        If their networks or targets differ.
    """
    first = subjects[0]
    for other in subjects[1:]:
        for what, one, another in (
            ("networks", first.network.kept, other.network.kept),
            ("targets", first.module.target.name, other.module.target.name),
        ):
            if one != another:
                raise ValueError(
                    f"{first.path} and {other.path} have different {what}: give runs that differ "
                    "in their seed only"
                )


def _build_module(checkpoint: dict[str, Any]) -> EquivariantRegressor:
    options = _known(EquivariantRegressor, checkpoint["hyper_parameters"])
    return EquivariantRegressor(**options | NOT_IN_PRUNING)


def _build_data(options: dict[str, Any]) -> MoleculeDataModule:
    kind = QM9DataModule if options.get("path") is None else ExtXYZDataModule
    return kind(**_known(kind, options))


def _known(kind: type, options: dict[str, Any]) -> dict[str, Any]:
    """Leave out what Lightning adds to the options that it keeps."""
    names = inspect.signature(kind).parameters
    return {name: value for name, value in options.items() if name in names}


def _check_network(network: LayeredNetwork, run: Path) -> None:
    for method in ("restricted", "weight_selections", "operations"):
        if getattr(type(network), method) is getattr(LayeredNetwork, method):
            raise ValueError(
                f"{run}: {type(network).__name__} does not offer `{method}`, so it cannot be pruned"
            )
