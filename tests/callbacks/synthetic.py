"""A data module of random molecules with the interface of `QM9DataModule`.

All validation molecules serve for measuring too, so that few suffice.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch_geometric.data import Batch

from qm9.targets import get_target
from tests.analysis.molecules import random_molecules


class SyntheticMolecules(LightningDataModule):
    """Training and validation molecules; each process loads its own share of them."""

    def __init__(self, train: int = 32, val: int = 24, batch_size: int = 8) -> None:
        super().__init__()
        self.target = get_target("U0")
        self.molecules = random_molecules(train + val, seed=3).to_data_list()
        for molecule in self.molecules:
            molecule.y = -76.0 + 10.0 * molecule.y
        order = torch.randperm(train + val, generator=torch.Generator().manual_seed(0))
        validation = order[train:]
        self.splits = {"train": order[:train], "val": validation, "val_measure": validation}
        self.batch_size = batch_size

    def targets(self, part: str) -> Any:
        return torch.cat([self.molecules[int(i)].y for i in self.splits[part]]).numpy()

    def element_counts(self, part: str) -> Any:
        counts = [self.molecules[int(i)].z.bincount(minlength=10) for i in self.splits[part]]
        return torch.stack(counts).numpy()

    def molecule(self, index: int) -> tuple[int, str]:
        return int(index), self.smiles(index)

    def smiles(self, index: int) -> str:
        return "C" * (1 + int(index))

    def batch(self, indices: Tensor) -> Batch:
        return Batch.from_data_list([self.molecules[int(i)] for i in indices])

    def _batches(self, part: str) -> list[Batch]:
        rank, world = self.trainer.global_rank, self.trainer.world_size  # type: ignore[union-attr]
        share = self.splits[part][rank::world]
        batches = [self.batch(indices) for indices in share.split(self.batch_size)]
        if self.trainer.precision == "64-true":  # type: ignore[union-attr]
            for batch in batches:
                batch.pos = batch.pos.double()
        return batches

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(self._batches("train"), batch_size=None, shuffle=True)  # type: ignore[arg-type]

    def val_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(self._batches("val"), batch_size=None)  # type: ignore[arg-type]
