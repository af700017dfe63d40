"""Molecules made up for tests of the regressor, a data module of them, and a quiet trainer."""

from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader
from torch_geometric.data import Batch, Data

from qm9.targets import get_target

SMALL: dict[str, Any] = {"irreps": "4x0e+4x1o", "num_layers": 2, "embedding_dim": 4}
ELEMENTS = torch.tensor([1, 6, 7, 8])


def molecules(count: int, seed: int) -> list[Data]:
    generator = torch.Generator().manual_seed(seed)
    data = []
    for i in range(count):
        n = int(torch.randint(2, 6, (), generator=generator))
        pairs = torch.combinations(torch.arange(n), 2).T
        data.append(
            Data(
                z=ELEMENTS[torch.randint(4, (n,), generator=generator)],
                pos=torch.randn(n, 3, generator=generator) * 1.5,
                edge_index=torch.cat([pairs, pairs.flip(0)], dim=1),
                y=torch.randn(1, dtype=torch.float64, generator=generator) * 10 - 76,
                idx=torch.tensor([i]),
            )
        )
    return data


class Molecules(LightningDataModule):
    """Batches of uneven size, so that a mean over batches would be wrong."""

    def __init__(self, target: str = "U0") -> None:
        super().__init__()
        self.target = get_target(target)
        sets = {"train": (24, 1), "val": (7, 2), "test": (7, 3)}
        self.sets = {split: molecules(*args) for split, args in sets.items()}
        self.splits = {split: torch.arange(count) for split, (count, _) in sets.items()}

    def targets(self, part: str) -> Any:
        return torch.cat([molecule.y for molecule in self.sets[part]]).numpy()

    def element_counts(self, part: str) -> Any:
        return np.stack([np.bincount(molecule.z, minlength=20) for molecule in self.sets[part]])

    def batch(self, indices: Any) -> Batch:
        """Collate molecules of the training part."""
        return Batch.from_data_list([self.sets["train"][int(i)] for i in indices])

    def molecule(self, index: int) -> tuple[int, str]:
        return 100 + index, "C" * (1 + index)

    def _batches(self, split: str) -> DataLoader:
        data = self.sets[split]
        batches = [Batch.from_data_list(data[i : i + 4]) for i in range(0, len(data), 4)]
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]

    def train_dataloader(self) -> Any:
        return self._batches("train")

    def val_dataloader(self) -> Any:
        return self._batches("val")

    def test_dataloader(self) -> Any:
        return self._batches("test")

    def predict_dataloader(self) -> Any:
        return self._batches("test")


def quiet_trainer(tmp_path: Any, **options: Any) -> Trainer:
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "default_root_dir": tmp_path,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return Trainer(**(defaults | options))
